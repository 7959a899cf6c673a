package wasmhost

import (
	"errors"
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Code says why a module could not be loaded or a phase did not succeed. It
// is an error value, so that errors.Is(err, wasmhost.Denied) tells.
type Code string

// The codes.
const (
	// GuestFailed says that the phase returned failed; Detail is its reason.
	GuestFailed Code = "guest-failed"
	// GuestTrap says that the module broke a rule of Wasm or of the contract:
	// a bad pointer or handle, unreachable, exit; Stack shows where.
	GuestTrap Code = "guest-trap"
	// Fuel says that the phase used up its fuel.
	Fuel Code = "fuel"
	// Depth says that calls within calls went too deep.
	Depth Code = "depth"
	// Wall says that the phase took longer than its limit.
	Wall Code = "wall"
	// Memory says that the module wants more memory than it is granted, or
	// that the instances of the host have no more left for it.
	Memory Code = "memory"
	// Denied says that the module wants what it did not declare or is not granted.
	Denied Code = "denied"
	// ABI says that module and host do not speak the same contract.
	ABI Code = "abi"
	// InvalidModule says that the bytes are not an acceptable module.
	InvalidModule Code = "invalid-module"
	// HostIO says that a source, the door or the journal failed; Unwrap gives
	// its error. It wins over whatever the module made of it.
	HostIO Code = "host-io"
	// Cancelled says that the caller's context ended, that the module saw the
	// cancel flag and stopped, or that it did not and was stopped.
	Cancelled Code = "cancelled"
)

// Error makes a Code an error.
func (c Code) Error() string { return string(c) }

// ErrArtifact says that an artifact's bytes are not those that were promised.
var ErrArtifact = errors.New("artifact differs from what was promised")

// Error is the one error of this package.
type Error struct {
	Code   Code
	Module string    // hex SHA-256, "" if there was none to digest
	Phase  abi.Phase // 0 while loading
	Detail string
	Stack  string // of the guest, if it was stopped in the middle: a line a function
	Err    error  // cause, may be nil
	Usage  Usage  // of the phase up to then
}

// Error is one line of printable text, of little more than 2 KiB whatever the
// module says of itself: module, phase, code, detail, cause and the fuel that the
// phase had used. The guest's stack is apart.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("module")
	if e.Module != "" {
		fmt.Fprintf(&b, " %.12s", e.Module)
	}
	if e.Phase != 0 {
		fmt.Fprintf(&b, " %s", e.Phase)
	}
	fmt.Fprintf(&b, ": %s", e.Code)
	if e.Detail != "" {
		fmt.Fprintf(&b, ": %s", e.Detail)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	text := oneLine(b.String(), maxText)
	if e.Usage.Fuel > 0 {
		text += fmt.Sprintf(" (after %d fuel)", e.Usage.Fuel)
	}
	return text
}

// maxText is how many bytes of an error are shown.
const maxText = 2 << 10

// oneLine is text as one line that a terminal prints as it stands, cut to n bytes.
func oneLine(text string, n int) string {
	if len(text) > n {
		return clean([]byte(text[:n])) + "…"
	}
	return clean([]byte(text))
}

// Is reports whether target is the error's code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
