package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

func (c *Checkpoint) clone() Checkpoint {
	d := *c
	d.KV = maps.Clone(c.KV)
	d.Sources = maps.Clone(c.Sources)
	d.Files = slices.Clone(c.Files)
	d.Unpacked = slices.Clone(c.Unpacked)
	for i := range d.Files {
		d.Files[i].Copies = slices.Clone(d.Files[i].Copies)
	}
	return d
}

// file gives what is known of a target or entry. The pointer is good until
// the next file is added.
func (c *Checkpoint) file(name string) *FileMark {
	for i := range c.Files {
		if c.Files[i].Name == name {
			return &c.Files[i]
		}
	}
	return nil
}

// within reports whether name is the target of role or an entry below it.
func within(name, role string) bool { return name == role || strings.HasPrefix(name, role+"/") }

// staged gives the bytes that are known to be staged for role.
func (c *Checkpoint) staged(role string) int64 {
	var n int64
	for i := range c.Files {
		if within(c.Files[i].Name, role) {
			n += c.Files[i].Synced
		}
	}
	for i := range c.Unpacked {
		if c.Unpacked[i].Target == role {
			n += c.Unpacked[i].Bytes
		}
	}
	return n
}

// unpacked gives the record of an svc_unpack, made if it is new. The pointer
// is good until the next one is made.
func (c *Checkpoint) unpacked(source, target string) *Unpack {
	for i := range c.Unpacked {
		if u := &c.Unpacked[i]; u.Source == source && u.Target == target {
			return u
		}
	}
	c.Unpacked = append(c.Unpacked, Unpack{Source: source, Target: target})
	return &c.Unpacked[len(c.Unpacked)-1]
}

// copied gives the record of an svc_copy into the file, made if it is new.
func (f *FileMark) copied(source string, from, to, count int64) *Copy {
	for i := range f.Copies {
		if k := &f.Copies[i]; k.Source == source && k.From == from && k.To == to && k.Count == count {
			return k
		}
	}
	f.Copies = append(f.Copies, Copy{Source: source, From: from, To: to, Count: count})
	return &f.Copies[len(f.Copies)-1]
}

// wrote notes that [off, off+n) of the file was written: from the same offset
// of an artifact if from is a role, else by the module.
func (f *FileMark) wrote(off, n int64, from string) {
	switch {
	case from != "" && off == f.Synced && (f.From == from || f.From == "" && off == 0):
		f.From = from
	default:
		f.From = "*"
	}
	f.Synced = max(f.Synced, off+n)
}

// save makes the checkpoint: every target synced first, then all of it at once.
func (c *call) save(ctx context.Context) error {
	if c.failed != nil {
		return c.failed // a failed sync is never followed by a success
	}
	for _, t := range c.openTargets() {
		if err := t.sync(ctx); err != nil {
			return err
		}
	}
	for role, a := range c.sources {
		if err := a.mark(&c.point); err != nil {
			return fmt.Errorf("mark artifact %s: %w", role, err)
		}
	}
	if c.g.Clock != nil {
		c.saved = c.g.Clock.Mono()
	}
	c.moved, c.dirty = 0, false
	if c.g.Journal == nil {
		return nil
	}
	if err := c.fit(); err != nil {
		return err
	}
	if err := c.g.Journal.Save(ctx, c.point.clone()); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}

// fit forgets closed entries of directories, oldest first, until the
// checkpoint is small enough. A later call then writes those anew. A module may
// have closed tens of thousands of them, so that each is measured once.
func (c *call) fit() error {
	over := c.point.encoded() - checkpointSize
	c.point.Files = slices.DeleteFunc(c.point.Files, func(f FileMark) bool {
		if over <= 0 || !strings.Contains(f.Name, "/") || c.targets[key(f.Name, abi.ModeWrite)] != nil {
			return false
		}
		over -= f.encoded() + 1 // with its comma
		return true
	})
	if over > 0 {
		return fmt.Errorf("the checkpoint has %d bytes, at most %d", checkpointSize+over, checkpointSize)
	}
	return nil
}

// openTargets gives the targets that are open for writing, by name.
func (c *call) openTargets() []*target {
	var list []*target
	for _, k := range slices.Sorted(maps.Keys(c.targets)) {
		if t := c.targets[k]; t.open && t.mode == abi.ModeWrite {
			list = append(list, t)
		}
	}
	return list
}

// fail keeps the first failure of the host, which the phase ends with.
func (c *call) fail(err error) abi.Errno {
	if c.failed == nil {
		c.failed = err
	}
	return abi.EIO
}

// do asks the door in the name of the run.
func (c *call) do(ctx context.Context, op device.Op) (device.Answer, error) {
	if c.g.Door == nil {
		return device.Answer{}, errors.New("no door is granted")
	}
	op.Run = c.g.Run
	return c.g.Door.Do(ctx, op)
}
