package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"

	"github.com/updraft-ota/updraft/internal/disk"
)

// MaxTransitions is how often one run may arm a restart, so that a device
// whose journal or boot loader misbehaves cannot restart for ever. Mender's
// state machine has the same cap.
const MaxTransitions = 28

// guardState is what must survive the loss of the journal. A store can lose
// its tail without an error; a journal that is behind its guard has.
type guardState struct {
	Counter     uint64 `json:"n"`
	Run         string `json:"run,omitempty"`
	Seq         uint64 `json:"seq"` // records that the journal must have at least
	Transitions int    `json:"moves,omitempty"`
	Floor       int64  `json:"floor,omitempty"` // lowest securityVersion that may be installed
	Trial       bool   `json:"trial,omitempty"` // armed forward and not yet confirmed
	Confirmed   bool   `json:"confirmed,omitempty"`
	Accepted    string `json:"accepted,omitempty"` // SHA-256 of the stored command
	Ended       string `json:"ended,omitempty"`
}

const guardCopy = 512 // bytes; one sector, so that a torn write spoils one copy alone

// guard is the file: two copies, written in turn.
type guard struct {
	fs    disk.FS
	name  string
	now   guardState
	fresh bool // there was no readable copy
}

// openGuard reads the guard, or begins a new one where there is none.
func openGuard(fsys disk.FS, name string) (*guard, error) {
	g := &guard{fs: fsys, name: name, fresh: true}
	data, err := disk.ReadFile(fsys, name, 2*guardCopy)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read guard: %w", err)
	}
	for i := 0; i+guardCopy <= len(data); i += guardCopy {
		if s, ok := decodeGuard(data[i : i+guardCopy]); ok && (g.fresh || s.Counter > g.now.Counter) {
			g.now, g.fresh = s, false
		}
	}
	return g, nil
}

func decodeGuard(b []byte) (s guardState, ok bool) {
	n := int(binary.LittleEndian.Uint16(b))
	if n > guardCopy-6 || crc32.Checksum(b[:guardCopy-4], castagnoli) != binary.LittleEndian.Uint32(b[guardCopy-4:]) {
		return s, false
	}
	return s, json.Unmarshal(b[2:2+n], &s) == nil
}

// write makes s durable before it returns. The older copy is overwritten, so
// that a cut leaves the newer one.
func (g *guard) write(s guardState) error {
	s.Counter = g.now.Counter + 1
	body, err := json.Marshal(s)
	if err != nil || len(body) > guardCopy-6 {
		return fmt.Errorf("write guard: %d bytes do not fit into a sector: %w", len(body), err)
	}
	b := make([]byte, guardCopy)
	binary.LittleEndian.PutUint16(b, uint16(len(body)))
	copy(b[2:], body)
	binary.LittleEndian.PutUint32(b[guardCopy-4:], crc32.Checksum(b[:guardCopy-4], castagnoli))
	if err := g.put(b, int64(s.Counter%2)*guardCopy); err != nil {
		return fmt.Errorf("write guard: %w", err)
	}
	g.now, g.fresh = s, false
	return nil
}

func (g *guard) put(b []byte, at int64) error {
	exists, err := disk.Exists(g.fs, g.name)
	if err != nil {
		return err
	}
	if !exists { // both copies at once, so that the file never has half its size
		return disk.WriteFile(g.fs, g.name, append(b, b...), 0o600)
	}
	f, err := g.fs.OpenFile(g.name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, at); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		// The kernel may have dropped the sector: write a new file.
		return errors.Join(f.Close(), disk.WriteFile(g.fs, g.name, append(b, b...), 0o600))
	}
	return f.Close()
}

// CopyFloor gives the guard of another disk the version floor of this one, and
// nothing of its runs. Without a guard there is no floor.
func CopyFloor(dst, src disk.FS, name string) error {
	from, err := openGuard(src, name)
	if err != nil || from.now.Floor == 0 {
		return err
	}
	to := &guard{fs: dst, name: name}
	return to.write(guardState{Floor: from.now.Floor})
}

// blobs keeps documents, modules and keys by digest, so that a resumed run
// reads what it was accepted with.
type blobs struct {
	fs  disk.FS
	dir string
}

const maxBlob = 64 << 20 // bytes

func (b blobs) put(data []byte) (string, error) {
	sum := hexSHA256(data)
	if err := disk.MkdirAll(b.fs, b.dir, 0o700); err != nil {
		return "", err
	}
	if old, err := b.get(sum); err == nil && len(old) == len(data) {
		return sum, nil
	}
	return sum, disk.WriteFile(b.fs, path.Join(b.dir, sum), data, 0o600)
}

func (b blobs) get(sum string) ([]byte, error) {
	data, err := disk.ReadFile(b.fs, path.Join(b.dir, sum), maxBlob)
	if err != nil {
		return nil, err
	}
	if hexSHA256(data) != sum {
		return nil, fmt.Errorf("stored file %s is damaged", sum)
	}
	return data, nil
}
