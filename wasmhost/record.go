package wasmhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// A recording is lines of JSON, each an object with one of the fields of
// recorded. The first line is {"recording":1}; another one begins what a
// further process recorded. The lines of phases that overlap are mixed, so
// that each carries the number of its phase. The bytes of a module come once,
// before its first phase.
const recordingVersion = 1

const (
	recordChunk  = 48 << 10 // bytes of data in a line
	recordInline = 4 << 10  // bytes that the host read; of more, size and digest are kept
	recordLine   = 256 << 10
)

// recorded is one line.
type recorded struct {
	Recording int            `json:"recording,omitempty"` // version of the format
	Module    string         `json:"module,omitempty"`    // hex SHA-256; data holds its next bytes
	Phase     int64          `json:"phase,omitempty"`     // number of the phase that the line is of
	Begin     *recordedPhase `json:"begin,omitempty"`
	Call      *recordedCall  `json:"call,omitempty"`
	End       *recordedEnd   `json:"end,omitempty"`
	Data      []byte         `json:"data,omitempty"` // of the module, or more of what the call before filled in
}

// recordedPhase is the head of a phase: what a replay needs to begin alike.
type recordedPhase struct {
	Module  string `json:"module"` // hex SHA-256
	Name    string `json:"name"`   // with the version
	Phase   string `json:"phase"`
	Run     string `json:"run,omitempty"`
	ABI     string `json:"abi"`
	Engine  Engine `json:"engine,omitempty"`
	Meter   int    `json:"meter"` // version of the prices of fuel
	Memory  int64  `json:"memory"`
	Fuel    int64  `json:"fuel"`
	Process bool   `json:"process,omitempty"` // it ran in a process of its own
}

// recordedCall is an Exchange.
type recordedCall struct {
	Number   int64           `json:"n"`
	Function string          `json:"f"`
	Args     []int64         `json:"args,omitempty"`
	In       []recordedBytes `json:"in,omitempty"`
	Room     int             `json:"room"`
	Answer   int64           `json:"answer"`
	Out      []byte          `json:"out,omitempty"`
	Filled   int             `json:"filled,omitempty"` // bytes in all, if lines with data follow
	Ended    *recordedEnd    `json:"ended,omitempty"`
	Fuel     int64           `json:"fuel"`
}

// recordedBytes is what the host read: the bytes, or how many and their digest.
type recordedBytes struct {
	Bytes  []byte `json:"b,omitempty"`
	Size   int    `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// recordedEnd says how a phase, or a call within it, ended.
type recordedEnd struct {
	Class  abi.Class `json:"class,omitempty"` // if the phase returned
	Code   Code      `json:"code,omitempty"`  // if it was ended
	Detail string    `json:"detail,omitempty"`
	Fuel   int64     `json:"fuel,omitempty"`
}

// Recorder writes what modules ask of the host and what they are answered, for
// [Replay]. It may be shared. What it writes holds facts, settings, the
// bytes of artifacts that a module read, and the module: keep it as secret as
// those.
type Recorder struct {
	mu      sync.Mutex
	to      io.Writer
	begun   bool
	phases  int64
	modules map[string]bool
	err     error
}

// NewRecorder records to w, with one Write a line. A recording may be appended
// to one that ends with a whole line.
func NewRecorder(w io.Writer) *Recorder { return &Recorder{to: w, modules: map[string]bool{}} }

// Err gives the first failure to write. Nothing is recorded after it; the
// phases go on.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// write writes one line. The lock is held.
func (r *Recorder) write(l recorded) {
	if r.err != nil {
		return
	}
	text, err := json.Marshal(l)
	if err == nil {
		_, err = r.to.Write(append(text, '\n'))
	}
	if err != nil {
		r.err = fmt.Errorf("write recording: %w", err)
	}
}

// phaseRecord is one phase in a recording.
type phaseRecord struct {
	r      *Recorder
	number int64
}

func (r *Recorder) begin(wasm []byte, head recordedPhase) *phaseRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun {
		r.begun = true
		r.write(recorded{Recording: recordingVersion})
	}
	if !r.modules[head.Module] {
		r.modules[head.Module] = true
		for piece := range slices.Chunk(wasm, recordChunk) {
			r.write(recorded{Module: head.Module, Data: piece})
		}
	}
	r.phases++
	r.write(recorded{Phase: r.phases, Begin: &head})
	return &phaseRecord{r: r, number: r.phases}
}

func (p *phaseRecord) exchange(x *Exchange) {
	k := recordedCall{
		Number: x.Number, Function: x.Function, Args: x.Args, Room: x.Room, Answer: x.Answer, Out: x.Out, Fuel: x.Fuel,
	}
	for _, b := range x.In {
		k.In = append(k.In, recordBytes(b))
	}
	if x.Ended != nil {
		k.Ended = &recordedEnd{Code: x.Ended.Code, Detail: x.Ended.Detail}
	}
	var more []byte
	if len(x.Out) > recordChunk {
		k.Out, more, k.Filled = x.Out[:recordChunk], x.Out[recordChunk:], len(x.Out)
	}
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.r.write(recorded{Phase: p.number, Call: &k})
	for piece := range slices.Chunk(more, recordChunk) {
		p.r.write(recorded{Phase: p.number, Data: piece})
	}
}

func (p *phaseRecord) end(e recordedEnd) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.r.write(recorded{Phase: p.number, End: &e})
}

func recordBytes(b []byte) recordedBytes {
	if len(b) <= recordInline {
		return recordedBytes{Bytes: b}
	}
	sum := sha256.Sum256(b)
	return recordedBytes{Size: len(b), SHA256: hex.EncodeToString(sum[:])}
}

// inside calls the phase in an instance, in this process or in one of its own.
func (c *call) inside(ctx context.Context) (abi.Class, error) {
	if c.m.host.isolation != nil {
		return c.apart(ctx)
	}
	return c.guest(ctx)
}

// attempt calls the phase and lets the recorder and the trace hear of it.
func (c *call) attempt(ctx context.Context) (abi.Class, error) {
	recorder := c.m.host.record
	if recorder == nil && c.g.Trace == nil {
		return c.inside(ctx)
	}
	c.serve = c.listen
	if recorder == nil {
		return c.inside(ctx)
	}
	c.record = recorder.begin(c.m.wasm, recordedPhase{
		Module: c.m.digest, Name: c.m.manifest.Name + " " + c.m.manifest.Version, Phase: c.phase.String(), Run: c.g.Run,
		ABI: fmt.Sprintf("%d.%d", abi.Major, abi.Minor), Engine: c.m.host.engine, Meter: meter.Version,
		Memory: c.m.limits.Memory, Fuel: c.tank.limit, Process: c.m.host.isolation != nil,
	})
	class, err := c.inside(ctx)
	c.record.end(ending(class, err, c.usage.Fuel))
	return class, err
}

// ending is how the guest ended, as the host saw it.
func ending(class abi.Class, err error, fuel int64) recordedEnd {
	if err == nil {
		return recordedEnd{Class: class, Fuel: fuel}
	}
	var own *Error
	if !errors.As(err, &own) {
		return recordedEnd{Code: HostIO, Fuel: fuel}
	}
	return recordedEnd{Code: own.Code, Detail: own.Detail, Fuel: fuel}
}
