// Package device is the one door to everything that an update may change or
// ask: facts, targets, the boot choice, restarts and the clock, and what stands
// beside the targets: serial ports and commands.
//
// [Load] reads a device file and [New] gives its [Door]. Whatever changes the
// device is one call, [Door.Do] with an [Op], so that a wrapper is complete by
// construction: [Planning] writes nothing and lists the effects, [Crashing]
// cuts the power before or after the n-th effect. A [Client] spells the ops
// out as methods, a [Reader] and a [Writer] carry bytes; they are thin and
// hold no state of the device.
//
// Every effect may be called again after a power cut with the same arguments
// and then finishes or confirms what the first call did. A state that somebody
// else changed in between is [ErrConflict], never damage.
package device

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Errors that callers decide on. All others are faults of disk or environment.
var (
	// ErrConflict says that the device is in a state that neither the caller
	// nor the run left: it is not overwritten.
	ErrConflict = errors.New("changed by somebody else")
	// ErrDenied says that the op is not allowed on this target, such as a
	// write to the active slot.
	ErrDenied = errors.New("not allowed")
	// ErrUnknown says that a target, slot, fact or scope is not in the device file.
	ErrUnknown = errors.New("not in the device file")
	// ErrQuota says that more bytes would be written than the target holds or the grant allows.
	ErrQuota = errors.New("does not fit")
	// ErrDigest says that what was read back is not what was to be written. Nothing took hold.
	ErrDigest = errors.New("read back something else")
	// ErrUnreachable says that a part beside the device is not there or does not
	// take bytes. Trying again may do better.
	ErrUnreachable = errors.New("not to be reached")
	// ErrParameter says that a command was given a value that it cannot take.
	ErrParameter = errors.New("unfit parameter")
	// ErrTimeout says that a command took longer than the device file allows. It was killed.
	ErrTimeout = errors.New("took too long")
	// ErrCorrupt says that a state file of the device cannot be read; the message says how to go on.
	ErrCorrupt = errors.New("damaged device state")
)

// Kind says what an [Op] asks or does.
type Kind uint8

// Questions change nothing and are answered under plan too.
const (
	// AskFacts gives Answer.Facts, all facts of the device file.
	AskFacts Kind = iota + 1
	// AskTarget resolves Target ("rootfs@inactive", "rootfs@b", "app",
	// "config") for Run and gives Answer.Target. Without a part, slots mean the
	// active one, and a directory the version that Run stages or has committed,
	// without a Run the current one.
	AskTarget
	// AskBoot gives Answer.Boot of the slot pair or directory Target.
	AskBoot
	// AskIncarnation gives in Answer.Text what changes with each restart of
	// Target: "device", or the name of a directory whose program restarts.
	AskIncarnation
	// OpenRead opens the content of a resolved Target (and Entry, for a
	// directory) for reading: Answer.Handle and Answer.Size. A directory
	// without an Entry gives its listing, whose SHA-256 is that of its stamp.
	OpenRead
	// Read fills Bytes from Offset of Handle: Answer.N, short only at the end.
	Read
	// Close closes Handle. What was staged stays for a later Open.
	Close
)

// Effects change the device.
const (
	// Preserve makes durable whatever [Restore] will need to undo this run's
	// change of the resolved Target, and gives it as Answer.Undo. The first
	// call of a run decides; a repeated one gives the same answer.
	Preserve Kind = iota + 64
	// Invalidate marks the inactive slot Target as not bootable, durably, and
	// drops its stamp. It precedes every Open of a slot.
	Invalidate
	// Open opens the resolved Target for writing: Answer.Handle. A slot must
	// be invalidated and inactive; a directory gives the version staged for
	// Run; a file gives a temporary file beside it. What an earlier Open of
	// the same run wrote is still there. Size, if not 0, is a quota in bytes.
	Open
	// OpenEntry opens the file Entry with Perm below the staged directory of
	// Handle for writing: Answer.Handle. Entries are local slash paths. With
	// fs.ModeDir in Perm it makes a folder of mode 0755 instead and gives no handle.
	OpenEntry
	// Write writes Bytes at Offset of Handle.
	Write
	// Truncate cuts Handle, a file or an entry, to Size bytes. On a slot it
	// forgets what this run wrote behind Size.
	Truncate
	// Sync makes what was written through Handle durable, names included.
	Sync
	// Commit makes the staged content of the resolved Target its next
	// version: Size bytes are read back and hashed; a non-empty Digest that
	// differs is an error and nothing takes hold. Then Stamp is written. A slot becomes
	// choosable, a directory version gets its name, a file is replaced.
	// Answer.Digest is the SHA-256 read back (of a directory: of its listing),
	// Answer.Target what the target is now. Size does not count for a directory; if it has
	// one file only, Digest may be that file's. A committed handle takes no more writes.
	Commit
	// Abort closes what Run has open on the resolved Target and removes what it staged.
	Abort
	// Choose makes To (a slot or a version) the one that Target starts from
	// next, for Tries attempts, and leaves Run as the nonce. What is active
	// already needs no Tries: the run's trial of something else is called off.
	Choose
	// Good says that the running slot or version of Target is proven. Of a
	// file it drops what Preserve kept, so that Restore is no longer possible.
	Good
	// Restart restarts Target: "device" or a directory's program. Whether
	// it happened shows in the incarnation.
	Restart
	// Restore puts back what Undo says, if the target is still as the run left
	// it. A slot that runs cannot be put back: Choose and Restart come first.
	Restore
	// OpenPort opens the serial port Target of the device file: Answer.Handle.
	OpenPort
	// Transfer sends Bytes through the port of Handle, then fills Reply until
	// it is full or Wait is over: Answer.N, which may be 0. A port that is gone
	// is [ErrUnreachable].
	Transfer
	// Execute runs the command Target of the device file with Params:
	// Answer.N is its exit status, Answer.Bytes the last 64 KiB that it printed.
	Execute
)

// Changes reports whether k is an effect.
func (k Kind) Changes() bool { return k >= Preserve }

// Op is one question or effect. Which fields count stands at its [Kind].
type Op struct {
	Kind   Kind
	Run    string // run id: names staging, nonce and before-images
	Target string
	Entry  string      // local slash path below a directory
	Perm   fs.FileMode // of an entry
	Handle int64
	Offset int64  // bytes
	Size   int64  // bytes
	Bytes  []byte // borrowed for the call
	Digest string // lower-case hex SHA-256
	To     string
	Tries  int
	Stamp  Stamp
	Undo   Undo
	Reply  []byte        // filled; borrowed for the call
	Wait   time.Duration // for Reply
	Params map[string]string
}

// Answer is what an [Op] gave. Which fields count stands at its [Kind].
type Answer struct {
	Text   string
	Handle int64
	N      int
	Size   int64
	Digest string
	Bytes  []byte
	Facts  map[string]string
	Target Target
	Boot   Boot
	Undo   Undo
}

// Door does one op. Implementations may be shared; ops on one handle are not
// to overlap. Every effect is durable when Do returns, apart from Write and
// Truncate, which are after a Sync of the same handle.
type Door interface {
	Do(ctx context.Context, op Op) (Answer, error)
}

// Type is the kind of a target.
type Type string

// The types of targets.
const (
	Slots     Type = "slots"     // raw images side by side, one of them booted
	Directory Type = "directory" // versions side by side, `current` links to one
	File      Type = "file"      // one file, replaced as a whole
)

// Target is a resolved target.
type Target struct {
	// Ref names it for later ops and stays right after a restart:
	// "rootfs@b", "app@run-1" (a staged version), "app@1.2.0", "config".
	Ref  string
	Name string // the target of the device file
	Type Type
	Part string // slot or version
	// Active says that the device runs from it now.
	Active bool
	// Size is the content's size in bytes as stamped, or else the size of the
	// file; Space what may be written at the most, 0 if only the disk limits it.
	Size, Space int64
	Stamp       Stamp // zero if it has none
}

// Stamp says what a target holds. It is written at commit.
type Stamp struct {
	Version string `json:"version"`
	SHA256  string `json:"sha256"` // of what was read back, lower-case hex
	Size    int64  `json:"size"`   // bytes
	Run     string `json:"run"`
	// Source identifies the artifacts that it was made from, so that a second
	// update to the same ones can be skipped.
	Source string `json:"source,omitempty"`
}

// Boot is the boot state of a slot pair, or the choice of a directory.
type Boot struct {
	Active string   `json:"active"`
	Next   string   `json:"next,omitempty"` // on trial
	Tries  int      `json:"tries,omitempty"`
	Good   []string `json:"good"`
	Nonce  string   `json:"nonce,omitempty"` // run that made the choice
}

// Undo says how to put a target back. It is opaque to all but the door.
type Undo struct {
	Target string `json:"target"`         // resolved ref
	From   string `json:"from,omitempty"` // what it was: an active slot or version, or a digest
	To     string `json:"to,omitempty"`   // what the run makes of it
	Keep   string `json:"keep,omitempty"` // where a before-image lies
	None   bool   `json:"none,omitempty"` // the target did not exist before
}
