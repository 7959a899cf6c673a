//go:build !wasip1

package updraft

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Double is a device in memory that a vendor's unit tests run phases against,
// natively. It exists on every platform but wasip1. The zero value has
// nothing; fill the fields that the phase needs and look at them afterwards.
//
// It grants whatever is in it: capabilities, quotas, the rules of which
// function belongs to which phase, and power cuts are the real host's, which
// a module is tested against as a whole. A handle that was closed panics, as
// it traps on a device. Of archives it reads tar, plain or with gzip, and it
// inflates gzip and bzip2; for the rest of the services it calls OnPatch and
// OnVerify.
type Double struct {
	Facts     map[string]string
	Settings  string            // JSON, "" for {}
	Artifacts map[string][]byte // by role
	// Random says that the manifest has access: random. Without it going
	// back in an artifact is abi.ESEQ, as it is on a device.
	Random bool
	// Targets holds contents by role, or by role/path for entries: what
	// reading finds, and what Commit leaves.
	Targets map[string][]byte
	// Staged holds what was written and is not committed, by the same names.
	Staged map[string][]byte
	KV     map[string][]byte
	Mark   []byte // nil: none
	// Cancel makes Cancelled true.
	Cancel bool
	// Clock is what Now and Mono give; Sleep moves it.
	Clock time.Time
	// Fuel is what FuelLeft gives.
	Fuel int64

	// These answer for what is outside of the double; nil answers
	// abi.EDENIED. An error that is an abi.Errno reaches the module as it is,
	// any other as abi.EIO.

	OnPatch  func(old, patch []byte) ([]byte, error)
	OnVerify func(content []byte, signature, key string) error
	OnHTTP   func(r abi.Request, body []byte) (status int, headers map[string]string, answer []byte, err error)
	OnSerial func(port string, sent []byte) (received []byte, err error)
	OnExec   func(name string, parameters map[string]string) (status int, output []byte, err error)

	// Logged, Report and Restart are what the module said: Restart is the
	// reason that it gave for a restart of the device.
	Logged  []string
	Report  abi.Result
	Restart string

	open    []opened
	read    map[string]int64 // by role, where its stream is
	answers []answer         // of HTTP, by handle
	output  []byte           // of the last exec
}

type opened struct {
	name   string
	mode   int32
	entry  []byte // content of an archive's entry, nil for all else
	closed bool
}

// at gives what a handle stands for.
func (h host) at(i int32) *opened {
	if i < 0 || int(i) >= len(h.d.open) || h.d.open[i].closed {
		panic(fmt.Sprintf("updraft: %d is no open handle; on a device this traps", i))
	}
	return &h.d.open[i]
}

// Call runs one phase of p as the host would and gives its return class. The
// error is what the phase's function returned.
func (d *Double) Call(p Phases, phase abi.Phase) (abi.Class, error) {
	d.open, d.read, d.answers, d.output = nil, map[string]int64{}, nil, nil
	s := &Step{host: host{d}}
	var failed error
	keep := func(f func(*Step) error) func(*Step) error {
		if f == nil {
			return nil
		}
		return func(s *Step) error { failed = f(s); return failed }
	}
	class := Phases{
		Compat: keep(p.Compat), Prepare: keep(p.Prepare), Install: keep(p.Install), Commit: keep(p.Commit),
		Rollback: keep(p.Rollback), Health: keep(p.Health), Cleanup: keep(p.Cleanup), Enumerate: keep(p.Enumerate),
	}.call(s, phase)
	return class, failed
}

// keep has nothing to do where nobody calls an exported function.
func keep(Phases) {}

// host is the twin of the one for wasip1.
type host struct{ d *Double }

func fill(p, text []byte) int32 {
	if len(text) <= len(p) {
		copy(p, text)
	}
	return int32(len(text))
}

func fillFrom[M map[string]V, V ~string | ~[]byte](m M, name string, p []byte) int32 {
	v, ok := m[name]
	if !ok {
		return int32(abi.ENOENT)
	}
	return fill(p, []byte(v))
}

func fillNames[M map[string]V, V any](m M, p []byte) int32 {
	var list []byte
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(append(list, name...), 0)
	}
	return fill(p, list)
}

func (h host) log(level int, text string) {
	h.d.Logged = append(h.d.Logged, strconv.Itoa(level)+" "+text)
}
func (h host) progress(int64, int64, string) {}
func (h host) resultSet(p []byte) int32 {
	var r abi.Result
	if json.Unmarshal(p, &r) != nil {
		return int32(abi.EINVAL)
	}
	h.d.Report = r
	return 0
}
func (h host) cancelled() bool { return h.d.Cancel }
func (h host) phaseInfo(p []byte) int32 {
	text, err := json.Marshal(abi.Info{
		Run: "double", ABI: "1.0", Artifacts: slices.Sorted(maps.Keys(h.d.Artifacts)), Targets: slices.Sorted(maps.Keys(h.d.Targets)),
	})
	if err != nil {
		return int32(abi.EIO)
	}
	return fill(p, text)
}
func (h host) propGet(name string, p []byte) int32 { return fillFrom(h.d.Facts, name, p) }
func (h host) propList(p []byte) int32             { return fillNames(h.d.Facts, p) }
func (h host) configGet(name string, p []byte) int32 {
	text := cmp.Or(h.d.Settings, "{}")
	if name == "" {
		return fill(p, []byte(text))
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &fields) != nil {
		return int32(abi.ENOENT)
	}
	return fillFrom(fields, name, p)
}

func (h host) add(o opened) int32 {
	same := func(old opened) bool { return old.name == o.name && old.mode == o.mode && !old.closed }
	if i := slices.IndexFunc(h.d.open, same); i >= 0 {
		return int32(i)
	}
	h.d.open = append(h.d.open, o)
	return int32(len(h.d.open) - 1)
}

func (h host) artOpen(role string) int32 {
	if _, ok := h.d.Artifacts[role]; !ok {
		return int32(abi.ENOENT)
	}
	return h.add(opened{name: role})
}
func (h host) artifact(i int32) []byte {
	if o := h.at(i); o.entry != nil {
		return o.entry
	}
	return h.d.Artifacts[h.at(i).name]
}
func (h host) artSize(i int32) int64  { return int64(len(h.artifact(i))) }
func (h host) artClose(i int32) int32 { h.at(i).closed = true; return 0 }
func (h host) artDigest(i int32, p []byte) int32 {
	if h.at(i).entry != nil {
		return int32(abi.EUNKNOWN)
	}
	return fill(p, fmt.Appendf(nil, "%x", sha256.Sum256(h.artifact(i))))
}
func (h host) artRead(i int32, off int64, p []byte) int32 {
	if !h.forward(i, off) {
		return int32(abi.ESEQ)
	}
	n := readFrom(h.artifact(i), off, p)
	h.d.read[h.at(i).name] = off + int64(max(n, 0))
	return n
}

// forward reports whether a read at off does not go back.
func (h host) forward(i int32, off int64) bool {
	return h.d.Random || off < 0 || off >= h.d.read[h.at(i).name]
}

func readFrom(b []byte, off int64, p []byte) int32 {
	switch {
	case off < 0:
		return int32(abi.EINVAL)
	case off >= int64(len(b)):
		return 0
	}
	return int32(copy(p, b[off:]))
}

func (h host) tgtOpen(role string, mode int32) int32 {
	return h.add(opened{name: role, mode: mode})
}
func (h host) tgtEntry(i int32, path string, _ uint32) int32 {
	o := h.at(i)
	name := o.name + "/" + path
	if _, ok := h.d.Targets[name]; !ok && o.mode == abi.ModeRead {
		return int32(abi.ENOENT)
	}
	return h.add(opened{name: name, mode: o.mode})
}

// content is what is there, or what is staged through a handle for writing.
func (h host) content(i int32) []byte {
	o := h.at(i)
	if o.mode == abi.ModeRead {
		return h.d.Targets[o.name]
	}
	return h.d.Staged[o.name]
}

func (h host) tgtWrite(i int32, off int64, p []byte) int32 {
	o := h.at(i)
	if off < 0 {
		return int32(abi.EINVAL)
	}
	if o.mode != abi.ModeWrite {
		return int32(abi.EDENIED)
	}
	b := h.d.Staged[o.name]
	if n := off + int64(len(p)); n > int64(len(b)) {
		b = append(b, make([]byte, n-int64(len(b)))...)
	}
	copy(b[off:], p)
	h.stage(o.name, b)
	return int32(len(p))
}
func (h host) tgtRead(i int32, off int64, p []byte) int32 {
	if h.at(i).mode != abi.ModeRead {
		return int32(abi.EDENIED)
	}
	return readFrom(h.content(i), off, p)
}

func (h host) tgtTruncate(i int32, size int64) int32 {
	name := h.at(i).name
	if size < 0 || size > int64(len(h.d.Staged[name])) {
		return int32(abi.EINVAL)
	}
	h.stage(name, h.d.Staged[name][:size])
	return 0
}
func (h host) tgtSync(int32) int32    { return 0 }
func (h host) tgtSize(i int32) int64  { return int64(len(h.content(i))) }
func (h host) tgtClose(i int32) int32 { h.at(i).closed = true; return 0 }
func (h host) tgtCommit(i int32) int32 {
	if h.d.Targets == nil {
		h.d.Targets = map[string][]byte{}
	}
	for name, b := range h.below(i) {
		h.d.Targets[name] = b
	}
	return h.tgtAbort(i)
}
func (h host) tgtAbort(i int32) int32 {
	for name := range h.below(i) {
		delete(h.d.Staged, name)
	}
	return 0
}

// below copies what is staged for the target of a handle and its entries.
func (h host) below(i int32) map[string][]byte {
	role, found := h.at(i).name, map[string][]byte{}
	for name, b := range h.d.Staged {
		if name == role || strings.HasPrefix(name, role+"/") {
			found[name] = b
		}
	}
	return found
}

func (h host) svcCopy(src int32, soff int64, dst int32, doff, n int64) int64 {
	if doff < 0 {
		return int64(abi.EINVAL)
	}
	b, errno := h.take(src, soff, n)
	if errno != 0 {
		return int64(errno)
	}
	return int64(h.tgtWrite(dst, doff, b))
}

// take reads n bytes of a handle's content for a service.
func (h host) take(i int32, off, n int64) ([]byte, abi.Errno) {
	if off < 0 || n < -1 {
		return nil, abi.EINVAL
	}
	if h.d.Cancel {
		return nil, abi.ECANCELED
	}
	o := h.at(i)
	if o.mode == abi.ModeWrite {
		return nil, abi.EDENIED
	}
	b := h.d.Targets[o.name]
	if o.mode == 0 {
		if !h.forward(i, off) {
			return nil, abi.ESEQ
		}
		b = h.artifact(i)
	}
	b = b[min(off, int64(len(b))):]
	if n >= 0 {
		b = b[:min(n, int64(len(b)))]
	}
	if o.mode == 0 {
		h.d.read[o.name] = off + int64(len(b))
	}
	return b, 0
}

func (h host) kvGet(key string, p []byte) int32 { return fillFrom(h.d.KV, key, p) }
func (h host) kvPut(key string, p []byte) int32 {
	if h.d.KV == nil {
		h.d.KV = map[string][]byte{}
	}
	h.d.KV[key] = bytes.Clone(p)
	return 0
}
func (h host) kvDel(key string) int32 { delete(h.d.KV, key); return 0 }
func (h host) kvList(p []byte) int32  { return fillNames(h.d.KV, p) }
func (h host) kvFlush() int32         { return 0 }
func (h host) mark(p []byte) int32    { h.d.Mark = append([]byte{}, p...); return 0 }
func (h host) lastMark(p []byte) int32 {
	if h.d.Mark == nil {
		return int32(abi.ENOENT)
	}
	return fill(p, h.d.Mark)
}
func (h host) now() int64  { return h.d.Clock.UnixMilli() }
func (h host) mono() int64 { return h.d.Clock.UnixMilli() }
func (h host) sleep(ms int64) int32 {
	h.d.Clock = h.d.Clock.Add(time.Duration(ms) * time.Millisecond)
	return 0
}

// random repeats, so that a test does.
func (h host) random(p []byte) int32 {
	for i := range p {
		p[i] = byte(i)
	}
	return int32(len(p))
}
