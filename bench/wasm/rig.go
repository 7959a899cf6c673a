package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// rig is a device of two slots in a folder, and an artifact in a file. The
// slot that runs is the role old, the other one out.
type rig struct {
	old, out string // files of the slots
	door     device.Door
	targets  map[string]wasmhost.Target
	image    wasmhost.Source
	journal  journal
	// cancelled is the flag that a module sees; nil: never.
	cancelled func() bool
}

const rigRun = "bench"

// newRig makes a device in a new folder, with content in the slot that runs.
func newRig(ctx context.Context, dir string, old []byte) (*rig, error) {
	dir, err := os.MkdirTemp(dir, "device-")
	if err != nil {
		return nil, err
	}
	r := &rig{old: filepath.Join(dir, "a.img"), out: filepath.Join(dir, "b.img")}
	if err := errors.Join(os.WriteFile(r.old, old, 0o600), os.WriteFile(r.out, nil, 0o600)); err != nil {
		return nil, err
	}
	config := device.Config{File: filepath.Join(dir, "device.yaml"), Targets: map[string]device.Place{"rootfs": {
		Slots: map[string]string{"a": r.old, "b": r.out}, Boot: device.BootState{File: filepath.Join(dir, "boot.json")},
	}}}
	files, err := device.New(config, device.Env{FS: disk.OS(), Clock: disk.Real()})
	if err != nil {
		return nil, err
	}
	r.door, r.targets = files, map[string]wasmhost.Target{}
	client := device.Client{Door: files, Run: rigRun}
	for role, mode := range map[string]wasmhost.Mode{"old": wasmhost.Read, "out": wasmhost.Write} {
		part := map[string]string{"old": "active", "out": "inactive"}[role]
		t, err := client.Resolve(ctx, "rootfs@"+part)
		if err != nil {
			return nil, err
		}
		if mode == wasmhost.Write {
			if _, err := client.Preserve(ctx, t.Ref); err != nil {
				return nil, err
			}
		}
		r.targets[role] = wasmhost.Target{Ref: t.Ref, Type: t.Type, Mode: mode}
	}
	return r, nil
}

// install calls the phase with settings, from the beginning.
func (r *rig) install(ctx context.Context, m *wasmhost.Module, settings string) error {
	r.journal = journal{}
	got, err := m.Call(ctx, abi.Install, wasmhost.Grants{
		Run: rigRun, Door: r.door, Sources: map[string]wasmhost.Source{"image": r.image}, Targets: r.targets,
		Settings: []byte(settings), Journal: &r.journal, Clock: disk.Real(), Cancelled: r.cancelled,
	})
	if err == nil && got.Class != abi.OK {
		err = fmt.Errorf("install gave class %d: %s", got.Class, got.Report.Details)
	}
	return err
}

// journal keeps a checkpoint as JSON, which is what it costs besides the
// store that keeps it.
type journal struct{ text []byte }

func (j *journal) Last(context.Context) (c wasmhost.Checkpoint, err error) {
	if j.text != nil {
		err = json.Unmarshal(j.text, &c)
	}
	return c, err
}

func (j *journal) Save(_ context.Context, c wasmhost.Checkpoint) (err error) {
	j.text, err = json.Marshal(c)
	return err
}

// image is an artifact that lies in a file and is read as a stream.
type image struct {
	file   string
	size   int64
	digest string
}

func newImage(file string, content []byte) (*image, error) {
	sum := sha256.Sum256(content)
	return &image{file, int64(len(content)), hex.EncodeToString(sum[:])}, os.WriteFile(file, content, 0o600)
}

// Size implements [wasmhost.Source].
func (i *image) Size() int64 { return i.size }

// Digest implements [wasmhost.Source].
func (i *image) Digest() string { return i.digest }

// Open implements [wasmhost.Source].
func (i *image) Open(_ context.Context, state []byte) (wasmhost.Stream, error) {
	if state != nil {
		return nil, errors.New("no run of a benchmark goes on")
	}
	f, err := os.Open(i.file)
	if err != nil {
		return nil, err
	}
	return &fileStream{f}, nil
}

type fileStream struct{ *os.File }

// Mark implements [wasmhost.Stream].
func (s *fileStream) Mark() ([]byte, error) {
	at, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	return json.Marshal(at)
}

// noise gives bytes that no compression makes smaller, the same for a seed.
func noise(size int64, seed byte) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// digestOf is the hex SHA-256 of a file.
func digestOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
