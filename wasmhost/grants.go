package wasmhost

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Grants are all that one call of a module may reach. What is nil or empty is
// not granted. They must stay the same when a phase is called again.
type Grants struct {
	Run  string // run id, for the door
	Door device.Door
	// Sources and Targets are bound to the module's roles.
	Sources map[string]Source
	Targets map[string]Target
	// Allowed are the effects by name: serial:PORT, exec:NAME, http:HOST, reboot.
	// The module reaches those of them that it declares.
	Allowed []abi.Capability
	// HTTP carries the requests to granted hosts. It need follow no redirects.
	HTTP  http.RoundTripper
	Facts map[string]string
	// Settings is a JSON object.
	Settings []byte
	// Journal keeps the checkpoint of this step. Without one, a phase that is
	// called again starts over.
	Journal Journal
	// Sealed is called after install, when every byte of every artifact that
	// the module opened was read and had its digest. Commit waits for it.
	Sealed func(ctx context.Context) error
	// Log hears the module's lines, at the levels of package abi.
	Log func(level int, line string)
	// Progress hears at most 20 calls a second. Total is 0 if it is not known.
	Progress func(done, total int64, text string)
	// Cancelled says whether the run is being cancelled.
	Cancelled func() bool
	Clock     disk.Clock
	// Random gives random bytes, the system's if it is nil. A fixed one makes
	// the fuel of a module whose runtime draws random numbers the same on each
	// run. Compat has a fixed one of its own.
	Random io.Reader
	// Wall is the time that the phase may take, 0 for that of [Limits].
	Wall time.Duration
	// Trace, if set, hears each call of a function of the host after it was
	// answered. The exchange and its bytes are good until it returns. A panic of
	// it passes through Call, as one of the door does.
	Trace func(Exchange)
	// Version and Source go into the stamp of what is committed.
	Version, Source string
}

// Mode is what a target is granted for.
type Mode string

// The modes. What may be written may be opened for reading instead.
const (
	Read  Mode = "read"
	Write Mode = "write"
)

// Target is a granted target.
type Target struct {
	Ref   string // resolved, as the door knows it
	Type  device.Type
	Mode  Mode
	Quota int64 // bytes that may be staged, 0 for no limit but the door's
}

// Source is an artifact as a stream that can go on at a state. If it is an
// [io.ReaderAt] too, it lies whole and verified on a disk.
type Source interface {
	// Size is the number of bytes, or -1 if it is not known before the end.
	Size() int64
	// Digest is the lower-case hex SHA-256 that was promised, or "".
	Digest() string
	// Open starts a stream, at a state that an earlier stream gave or, for
	// nil, at the beginning.
	Open(ctx context.Context, state []byte) (Stream, error)
}

// Stream is one reading of a source. It gives io.EOF only at the true end.
type Stream interface {
	io.Reader
	// Mark gives the state behind the bytes read so far, a few KiB at the most.
	Mark() ([]byte, error)
	Close() error
}

// Journal keeps one checkpoint of a run's step.
type Journal interface {
	// Last gives what Save kept, or the zero Checkpoint.
	Last(ctx context.Context) (Checkpoint, error)
	// Save makes c durable in place of the one before, or fails.
	Save(ctx context.Context, c Checkpoint) error
}

// Result is what a phase returned.
type Result struct {
	Class abi.Class
	// Report is what the module said of itself, zero if nothing.
	Report abi.Result
	// Digests are those of committed targets by role, as the door read them back.
	Digests map[string]string
	// Usage is what the phase took.
	Usage Usage
}

// Checkpoint is where a step stands. Its JSON has less than 48 KiB.
type Checkpoint struct {
	Module  string                `json:"module"` // hex SHA-256 of the module that wrote it
	Phase   abi.Phase             `json:"phase"`  // abi.Commit once the install phase is over and sealed
	Marked  bool                  `json:"marked,omitempty"`
	Mark    []byte                `json:"mark,omitempty"`
	KV      map[string][]byte     `json:"kv,omitempty"`
	Sources map[string]SourceMark `json:"sources,omitempty"` // by role
	// Files are targets and entries below them, in the order of their first opening.
	Files []FileMark `json:"files,omitempty"`
	// Unpacked are the archives that svc_unpack began with.
	Unpacked []Unpack `json:"unpacked,omitempty"`
}

// SourceMark is where the stream of an artifact stands.
type SourceMark struct {
	Offset int64  `json:"offset"`
	State  []byte `json:"state,omitempty"`  // of the stream, to open it again
	Hash   []byte `json:"hash,omitempty"`   // state of the SHA-256 up to Offset
	Digest string `json:"digest,omitempty"` // of the whole, once Offset is its size
}

// FileMark is what of a target is synced.
type FileMark struct {
	Name   string `json:"name"`   // role, or role/path for an entry
	Synced int64  `json:"synced"` // bytes up to the highest one
	// From is the role of the artifact if all bytes are a copy of its
	// beginning, or "*" if they are anything else.
	From   string `json:"from,omitempty"`
	Copies []Copy `json:"copies,omitempty"`
}

// Copy is an svc_copy, svc_inflate or svc_patch into a file, as far as it is synced.
type Copy struct {
	// Source is a role, role//path for a member of an archive, and for
	// svc_inflate and svc_patch that behind a word of their own.
	Source string `json:"source"`
	From   int64  `json:"from"`  // offset in the artifact
	To     int64  `json:"to"`    // offset in the file
	Count  int64  `json:"count"` // as asked for, -1 to the end
	Done   int64  `json:"done"`
	Whole  bool   `json:"whole,omitempty"` // nothing is left to copy
}

// Unpack is an svc_unpack into a directory, as far as it is synced.
type Unpack struct {
	Source  string `json:"source"`  // as of [Copy]
	Target  string `json:"target"`  // role
	Members int64  `json:"members"` // that are done, in the order of the archive
	Files   int64  `json:"files"`   // of them
	Done    int64  `json:"done"`    // bytes of the member behind them
	Bytes   int64  `json:"bytes"`   // in all
	Whole   bool   `json:"whole,omitempty"`
}

// checkpointSize is the most that a checkpoint may take as JSON. A journal's
// records must stay below 64 KiB with what is around it.
const checkpointSize = 48<<10 - 1

// encoded gives the size of c as JSON.
func (c *Checkpoint) encoded() int { return encoded(c) }

// encoded gives the size of f as JSON.
func (f *FileMark) encoded() int { return encoded(f) }

func encoded(v any) int {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // a checkpoint holds nothing that JSON cannot write
	}
	return len(text)
}
