package wasmhost

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/device"
)

// powerCut is the panic of a fake at its n-th effect.
type powerCut struct{}

// power counts effects and cuts at one of them, before or after it.
type power struct {
	left  int // effects until the cut; negative: never
	after bool
	count int
}

func (p *power) effect(do func()) {
	p.count++
	cut := p.left == 0
	p.left--
	if cut && !p.after {
		panic(powerCut{})
	}
	do()
	if cut {
		panic(powerCut{})
	}
}

// content is a file that forgets what was not synced.
type content struct {
	now, durable []byte
	clean        bool
}

func (f *content) write(off int64, b []byte) {
	f.clean = false
	if n := off + int64(len(b)); n > int64(len(f.now)) {
		f.now = append(f.now, make([]byte, n-int64(len(f.now)))...)
	}
	copy(f.now[off:], b)
}

// memoryDoor is a device in memory: targets by ref, staged files by name.
type memoryDoor struct {
	power   *power
	staged  map[string]*content // "ref" or "ref/entry"
	live    map[string][]byte
	stamps  map[string]device.Stamp
	handles map[int64]string
	next    int64
	ops     int
	fail    map[device.Kind]error
}

func newDoor() *memoryDoor {
	return &memoryDoor{
		power: &power{left: -1}, staged: map[string]*content{}, live: map[string][]byte{},
		stamps: map[string]device.Stamp{}, handles: map[int64]string{}, fail: map[device.Kind]error{},
	}
}

// restart loses handles and what was not synced.
func (d *memoryDoor) restart() {
	clear(d.handles)
	for _, f := range d.staged {
		f.now = bytes.Clone(f.durable)
	}
}

func (d *memoryDoor) Do(ctx context.Context, op device.Op) (answer device.Answer, err error) {
	if ctx.Err() != nil {
		return answer, ctx.Err()
	}
	d.ops++
	if err := d.fail[op.Kind]; err != nil {
		return answer, err
	}
	if !op.Kind.Changes() {
		return d.ask(op)
	}
	d.power.effect(func() { answer, err = d.change(op) })
	return answer, err
}

func (d *memoryDoor) ask(op device.Op) (device.Answer, error) {
	switch op.Kind {
	case device.OpenRead:
		name := op.Target
		if op.Entry != "" {
			name += "/" + op.Entry
		}
		b, ok := d.live[name]
		if !ok {
			return device.Answer{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return device.Answer{Handle: d.handle("<" + name), Size: int64(len(b))}, nil
	case device.Read:
		name := d.handles[op.Handle]
		if name == "" || name[0] != '<' {
			return device.Answer{}, device.ErrDenied
		}
		b := d.live[name[1:]]
		if op.Offset >= int64(len(b)) {
			return device.Answer{}, nil
		}
		return device.Answer{N: copy(op.Bytes, b[op.Offset:])}, nil
	case device.Close:
		if _, ok := d.handles[op.Handle]; !ok {
			return device.Answer{}, errors.New("closed twice")
		}
		delete(d.handles, op.Handle)
		return device.Answer{}, nil
	}
	return device.Answer{}, device.ErrUnknown
}

func (d *memoryDoor) handle(name string) int64 {
	d.next++
	d.handles[d.next] = name
	return d.next
}

func (d *memoryDoor) stage(name string) int64 {
	if d.staged[name] == nil {
		d.staged[name] = &content{}
	}
	return d.handle(name)
}

func (d *memoryDoor) change(op device.Op) (device.Answer, error) {
	name, open := d.handles[op.Handle]
	switch op.Kind {
	case device.Invalidate:
		delete(d.stamps, op.Target)
		return device.Answer{}, nil
	case device.Open:
		if _, done := d.stamps[op.Target]; done {
			return device.Answer{}, fmt.Errorf("%s: %w", op.Target, device.ErrConflict)
		}
		return device.Answer{Handle: d.stage(op.Target)}, nil
	case device.Commit:
		return d.commit(op)
	case device.Abort:
		maps.DeleteFunc(d.staged, func(n string, _ *content) bool { return within(n, op.Target) })
		return device.Answer{}, nil
	}
	if !open {
		return device.Answer{}, fmt.Errorf("handle %d is not open", op.Handle)
	}
	switch op.Kind {
	case device.OpenEntry:
		if op.Perm.IsDir() {
			d.staged[name+"/"+op.Entry+"/"] = &content{}
			return device.Answer{}, nil
		}
		return device.Answer{Handle: d.stage(name + "/" + op.Entry)}, nil
	case device.Write:
		d.staged[name].write(op.Offset, op.Bytes)
	case device.Truncate:
		f := d.staged[name]
		f.clean = false
		f.now = append(f.now, make([]byte, max(0, op.Size-int64(len(f.now))))...)[:op.Size]
	case device.Sync:
		for n, f := range d.staged { // of a directory, all that is in it
			if within(n, name) && !f.clean {
				f.durable, f.clean = bytes.Clone(f.now), true
			}
		}
	default:
		return device.Answer{}, device.ErrUnknown
	}
	return device.Answer{}, nil
}

func (d *memoryDoor) commit(op device.Op) (device.Answer, error) {
	if s, done := d.stamps[op.Target]; done && s.Run == op.Run {
		return device.Answer{Digest: s.SHA256}, nil
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(d.staged)) {
		if !within(name, op.Target) {
			continue
		}
		b := d.staged[name].now
		if name == op.Target {
			if op.Size > int64(len(b)) {
				return device.Answer{}, errors.New("less was staged than is committed")
			}
			b = b[:op.Size]
		} else {
			fmt.Fprintf(sum, "%s %d\n", name, len(b))
		}
		sum.Write(b)
		d.live[name] = b
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if op.Digest != "" && op.Digest != digest {
		return device.Answer{}, fmt.Errorf("read back %s, want %s", digest, op.Digest)
	}
	maps.DeleteFunc(d.staged, func(n string, _ *content) bool { return within(n, op.Target) })
	op.Stamp.SHA256, op.Stamp.Size = digest, op.Size
	d.stamps[op.Target] = op.Stamp
	return device.Answer{Digest: digest}, nil
}

// memoryJournal keeps a checkpoint as JSON, as a real one does.
type memoryJournal struct {
	power *power
	last  []byte
	saves int
	most  int // bytes
	err   error
}

func (j *memoryJournal) Last(context.Context) (c Checkpoint, err error) {
	if j.last != nil {
		err = json.Unmarshal(j.last, &c)
	}
	return c, err
}

func (j *memoryJournal) Save(ctx context.Context, c Checkpoint) error {
	if j.err != nil {
		return j.err
	}
	j.power.effect(func() {
		j.last, _ = json.Marshal(c)
		j.saves++
		j.most = max(j.most, len(j.last))
	})
	return ctx.Err()
}

// memorySource is an artifact whose stream gives a few bytes at a time.
type memorySource struct {
	data   []byte
	digest string
	err    error // at half of it
	read   int64 // bytes given in all
	opens  int
	closed int
}

func newSource(data []byte) *memorySource {
	sum := sha256.Sum256(data)
	return &memorySource{data: data, digest: hex.EncodeToString(sum[:])}
}

func (s *memorySource) Size() int64    { return int64(len(s.data)) }
func (s *memorySource) Digest() string { return s.digest }
func (s *memorySource) Open(_ context.Context, state []byte) (Stream, error) {
	at, err := strconv.Atoi(cmpOr(string(state), "0"))
	s.opens++
	return &memoryStream{s: s, at: at}, err
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

type memoryStream struct {
	s  *memorySource
	at int
}

func (m *memoryStream) Read(p []byte) (int, error) {
	if m.s.err != nil && m.at >= len(m.s.data)/2 {
		return 0, m.s.err
	}
	if m.at == len(m.s.data) {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 30_011)], m.s.data[m.at:])
	m.at += n
	m.s.read += int64(n)
	return n, nil
}

func (m *memoryStream) Mark() ([]byte, error) { return []byte(strconv.Itoa(m.at)), nil }
func (m *memoryStream) Close() error          { m.s.closed++; return nil }

// clock is a clock that moves when it is read or slept on.
type clock struct{ at time.Duration }

func (c *clock) Now() time.Time { return time.Unix(1_700_000_000, 0).Add(c.Mono()) }
func (c *clock) Mono() time.Duration {
	c.at += time.Microsecond
	return c.at
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.at += d
	return context.Cause(ctx)
}
