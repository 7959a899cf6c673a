// Package updraft is what a vendor writes an install or compatibility step
// with, in Go, as a WebAssembly module for updraft.
//
// [Serve] names the functions for the phases; each gets a [Step], the only
// way to the device, and returns nil or an error ([ErrAlreadyDone],
// [Incompatible], [Retry] and [ErrRestart] have a meaning of their own).
//
//	var _ = updraft.Serve(updraft.Phases{Install: install, Commit: commit})
//
//	func main() {} // required by the linker, never run
//
// The module is built, and gets its manifest, by
//
//	updraft module build
//
// or, without updraft, by
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o step.wasm
//	go run github.com/updraft-ota/updraft/wasm-sdk/go/attach -manifest updraft.json step.wasm step.wasm
//
// The manifest must declare the capability of everything that the code
// reaches; each method here says which. On every other platform the package
// builds too, so that a step is unit-tested natively against a [Double].
//
// Any phase may be called again from its start, in a new instance whose
// memory is empty: whatever must survive is in targets, key-values and marks.
// A module is single-threaded; nothing here may be called from two goroutines at once.
package updraft

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Phases are a module's functions, nil for phases that it does not serve. The
// manifest lists the same ones.
type Phases struct {
	Compat, Prepare, Install, Commit, Rollback, Health, Cleanup, Enumerate func(*Step) error
}

// Errors that say more than that a phase failed.
var (
	// ErrAlreadyDone says that the device has it already: nothing is left to do.
	ErrAlreadyDone = errors.New("already done")
	// ErrRestart says that the phase succeeded and wants a restart.
	ErrRestart = errors.New("restart wanted")
)

// Incompatible is the verdict that the update does not suit the device.
func Incompatible(reason string) error { return &verdict{abi.Incompatible, reason} }

// Retry says that the phase may succeed later.
func Retry(reason string) error { return &verdict{abi.RetryLater, reason} }

type verdict struct {
	class  abi.Class
	reason string
}

func (v *verdict) Error() string { return v.reason }

// Serve sets the functions that updraft calls. It is the initial value of a
// package variable, since main does not run in a module. The result is p.
func Serve(p Phases) Phases {
	keep(p)
	return p
}

func (p Phases) call(s *Step, phase abi.Phase) abi.Class {
	f := map[abi.Phase]func(*Step) error{
		abi.Compat: p.Compat, abi.Prepare: p.Prepare, abi.Install: p.Install, abi.Commit: p.Commit,
		abi.Rollback: p.Rollback, abi.Health: p.Health, abi.Cleanup: p.Cleanup, abi.Enumerate: p.Enumerate,
	}[phase]
	if f == nil {
		s.Log(abi.LevelError, "phase "+phase.String()+" is not served")
		return abi.Failed
	}
	return s.class(f(s))
}

// class turns what a phase returned into the number for the host, and leaves
// the reason where a report finds it.
func (s *Step) class(err error) abi.Class {
	var v *verdict
	class := abi.Failed
	switch {
	case err == nil:
		return abi.OK
	case errors.Is(err, ErrAlreadyDone):
		return abi.AlreadyDone
	case errors.Is(err, ErrRestart):
		return abi.OKRestart
	case errors.As(err, &v):
		class = v.class
	case errors.Is(err, abi.ECANCELED):
		class = abi.Cancelled
	}
	if !s.reported {
		s.host.resultSet(details(err.Error()))
	}
	return class
}

// details is {"details": text} without the weight of a JSON encoder.
func details(text string) []byte {
	return append(quote([]byte(`{"details":`), text[:min(len(text), abi.MaxLine)]), '}')
}

// object is a JSON object of texts, in the order of its names.
func object(fields map[string]string) []byte {
	out := []byte{'{'}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = quote(append(quote(out, name), ':'), fields[name])
	}
	return append(out, '}')
}

// quote appends text as JSON has it.
func quote(out []byte, text string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for _, b := range []byte(strings.ToValidUTF8(text, "?")) {
		switch {
		case b == '"' || b == '\\':
			out = append(out, '\\', b)
		case b < ' ':
			out = append(out, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		default:
			out = append(out, b)
		}
	}
	return append(out, '"')
}

// Step is one call of a phase and all that it may use.
type Step struct {
	host     host
	reported bool
}

// Log writes one line of at most 1 KiB. Levels are those of package abi.
func (s *Step) Log(level int, line string) { s.host.log(level, line) }

// Progress says how many of total units are done. Total may be 0 for unknown.
func (s *Step) Progress(done, total int64, text string) { s.host.progress(done, total, text) }

// Cancelled reports whether the run is being cancelled; a phase then returns soon.
func (s *Step) Cancelled() bool { return s.host.cancelled() }

// FuelLeft gives what the phase may still use up, about one for an instruction.
func (s *Step) FuelLeft() int64 { return s.host.fuelLeft() }

// Result leaves codes and details for the report, in place of the error's text.
func (s *Step) Result(r abi.Result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if n := s.host.resultSet(text); n < 0 {
		return fault("result", abi.Errno(n))
	}
	s.reported = true
	return nil
}

// Info gives the phase, the run, and the roles that are bound.
func (s *Step) Info() (abi.Info, error) {
	var info abi.Info
	text, err := grow(s.host.phaseInfo)
	if err != nil {
		return info, fault("phase info", err)
	}
	return info, json.Unmarshal(text, &info)
}

// Fact gives a fact of the device, "" and false if there is none. Capability: facts.
func (s *Step) Fact(name string) (string, bool) {
	text, err := grow(func(p []byte) int32 { return s.host.propGet(name, p) })
	return string(text), err == nil
}

// Facts lists the names of all facts. Capability: facts.
func (s *Step) Facts() ([]string, error) { return names("facts", s.host.propList) }

// Now gives the wall clock in milliseconds. Capability: time.
func (s *Step) Now() time.Time { return time.UnixMilli(s.host.now()) }

// Mono gives the time since an arbitrary moment. Capability: time.
func (s *Step) Mono() time.Duration { return time.Duration(s.host.mono()) * time.Millisecond }

// Sleep waits for d, in whole milliseconds. Capability: time.
func (s *Step) Sleep(d time.Duration) error { return check("sleep", s.host.sleep(d.Milliseconds())) }

// Random fills p. Capability: time.
func (s *Step) Random(p []byte) error { return check("random", s.host.random(p)) }

// Error is a refusal of the host. Its cause is an [abi.Errno].
type Error struct {
	Op  string // what was asked, with the name
	Err error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap gives the errno.
func (e *Error) Unwrap() error { return e.Err }

func fault(op string, err error) error { return &Error{op, err} }

func check(op string, n int32) error {
	if n < 0 {
		return fault(op, abi.Errno(n))
	}
	return nil
}

// grow asks again with a larger buffer until the answer fits.
func grow(ask func([]byte) int32) ([]byte, error) {
	p := make([]byte, 256)
	for {
		n := ask(p)
		switch {
		case n < 0:
			return nil, abi.Errno(n)
		case int(n) <= len(p):
			return p[:n], nil
		}
		p = make([]byte, n)
	}
}

func names(op string, ask func([]byte) int32) ([]string, error) {
	text, err := grow(ask)
	if err != nil {
		return nil, fault(op, err)
	}
	var list []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(text), "\x00"), "\x00") {
		if name != "" {
			list = append(list, name)
		}
	}
	return list, nil
}
