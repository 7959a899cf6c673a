package disk

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"sync"
)

// ErrCut is what a file of a [Forgetful] returns after a Cut.
var ErrCut = errors.New("the power was cut")

// Forgetful is an [FS] in memory that, at a Cut, loses what was not synced.
// It keeps two states of each file and folder, the one that programs see and
// the durable one:
//
//   - Sync of a file makes its content and size durable, but not its name.
//   - SyncDir of a folder makes the names in it durable: new ones, renames and
//     removals. The folder itself is durable by SyncDir of the one above.
//   - A failed Sync loses what it should have made durable. Programs still
//     see it, and a later Sync succeeds, but only what was written after the
//     failure gets durable. [OS] refuses that later Sync; a caller must not
//     count on it.
//
// Names may be relative; they start at the root, as absolute ones do.
// Permissions are kept but not enforced, and times are zero. Files are at most
// 64 TiB; holes take no memory. Sync, Clone and Cut cost what was changed, not
// what there is.
//
// It may be shared. Set the fields before that.
type Forgetful struct {
	view

	// Before is called before each call that changes something or syncs, one
	// that can only fail for other reasons excepted. An error from it is what
	// the call returns, and nothing is done. It may panic, and it may use the
	// disk, Clone and Cut included. nil means no hook.
	Before func(Call) error
	// LieSync says for which files, by absolute name, Sync reports success
	// without making anything durable. nil means none.
	LieSync func(name string) bool
	// Capacity limits the bytes in all files, holes excepted; a write beyond
	// it is ENOSPC. Zero means no limit.
	Capacity int64
	// Seed chooses the sectors that PowerTorn keeps.
	Seed uint64

	mu     sync.Mutex
	root   *inode
	calls  int64
	ids    uint64 // of inodes
	epochs uint64 // cuts so far
	used   int64  // bytes in all live files
}

var _ FS = (*Forgetful)(nil)

// Call is a call that is about to change something.
type Call struct {
	N int64 // running number, the first is 1
	// Op is create, truncate (OpenFile with O_TRUNC too), write, sync,
	// syncdir, rename, remove, mkdir or symlink.
	Op       string
	Name     string // absolute
	To       string // the new name of a rename
	Off, Len int64  // of a write; Len is the new size of a truncate. Bytes
}

// Cut is a way of stopping a machine.
type Cut int

const (
	// Kill ends the program alone: nothing is lost.
	Kill Cut = iota
	// Power loses bytes and names that were not synced.
	Power
	// PowerKeepNames loses bytes that were not synced, but no names: a new
	// file that was renamed before its sync is empty under the new name.
	PowerKeepNames
	// PowerTorn is Power, but of the bytes not synced some sectors of 512
	// bytes were written, and of the new sizes some.
	PowerTorn
)

// String names the mode.
func (c Cut) String() string {
	switch c {
	case Kill:
		return "kill"
	case Power:
		return "power"
	case PowerKeepNames:
		return "power, names kept"
	case PowerTorn:
		return "power, torn writes"
	}
	return "unknown cut"
}

// NewForgetful gives an empty disk.
func NewForgetful() *Forgetful {
	f := new(Forgetful)
	f.root = f.newInode(fs.ModeDir | 0o755)
	f.root.links = 1
	f.view = view{disk: f, base: f.root, prefix: "/"}
	return f
}

// Calls is how many calls were about to change something so far.
func (f *Forgetful) Calls() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Cut stops the machine and starts it again: the disk shows what is left, and
// every file that was open returns [ErrCut]. A Sub stays usable.
func (f *Forgetful) Cut(mode Cut) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epochs++
	f.used = 0
	f.root.unlink()
	f.restart(f.root, mode)
}

// unlink forgets how many names there are, of n and all below it.
func (n *inode) unlink() {
	n.links, n.opened = 0, 0
	if n.dir != nil {
		for _, kid := range n.dir.live {
			kid.unlink()
		}
	}
}

// restart leaves of n, and of all that is below it then, what the mode leaves.
func (f *Forgetful) restart(n *inode, mode Cut) {
	n.links++
	if n.links > 1 {
		return
	}
	n.opened = 0
	if n.file != nil {
		if mode == PowerTorn {
			n.file.tear(rand.New(rand.NewPCG(f.Seed+f.epochs, n.id)))
		}
		if mode != Kill {
			n.file.cut()
		}
		f.used += n.file.live.used()
	}
	if n.dir != nil {
		n.dir.cut(n, mode)
		for _, kid := range n.dir.live {
			f.restart(kid, mode)
		}
	}
}

// Clone gives a disk with the same two states, Capacity and Seed, but without
// hooks, and with no calls so far. It costs the number of files, not their
// size.
func (f *Forgetful) Clone() *Forgetful {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &Forgetful{Capacity: f.Capacity, Seed: f.Seed, ids: f.ids}
	copies := map[*inode]*inode{}
	c.root = f.root.clone(copies)
	c.view = view{disk: c, base: c.root, prefix: "/"}
	for _, n := range copies {
		if n.file != nil && n.links > 0 {
			c.used += n.file.live.used()
		}
	}
	return c
}

func (n *inode) clone(copies map[*inode]*inode) *inode {
	if n == nil || copies[n] != nil {
		return copies[n]
	}
	c := &inode{id: n.id, mode: n.mode, target: n.target, links: n.links}
	copies[n] = c
	if n.file != nil {
		c.file = n.file.clone()
	}
	if n.dir != nil {
		c.dir = newFolder()
		c.dir.above, c.dir.name = n.dir.above.clone(copies), n.dir.name
		for name, kid := range n.dir.live {
			c.dir.live[name] = kid.clone(copies)
		}
		for name, kid := range n.dir.kept {
			c.dir.kept[name] = kid.clone(copies)
		}
		for name := range n.dir.stale {
			c.dir.stale[name] = struct{}{}
		}
	}
	return c
}

func (f *Forgetful) newInode(mode fs.FileMode) *inode {
	f.ids++
	n := &inode{id: f.ids, mode: mode}
	switch {
	case mode.IsDir():
		n.dir = newFolder()
	case mode.IsRegular():
		n.file = newStored()
	}
	return n
}

// ask lets the hook decide about a call that passes check. The hook's error is
// fault; err means that the call cannot be made. Neither the hook nor what
// follows holds the lock, so the caller checks again.
func (f *Forgetful) ask(call Call, check func() error) (epoch uint64, fault, err error) {
	f.mu.Lock()
	epoch, err = f.epochs, check()
	if err == nil {
		f.calls++
		call.N = f.calls
	}
	f.mu.Unlock()
	if err == nil && f.Before != nil {
		fault = f.Before(call)
	}
	return epoch, fault, err
}

// free gives back the space of a file that neither has a name nor is open.
func (f *Forgetful) free(n *inode) {
	if n.file != nil && n.links == 0 && n.opened == 0 {
		f.used -= n.file.live.used()
	}
}
