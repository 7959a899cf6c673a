package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// target is a granted target, or an entry below it, as the module opened it.
type target struct {
	c      *call
	name   string // role, or role/path
	role   string
	path   string // of an entry
	perm   fs.FileMode
	grant  Target
	mode   int32
	handle int32

	open   bool
	door   int64 // handle there
	length int64 // of what is read
	dirty  bool  // written since the last sync
}

func key(name string, mode int32) string { return fmt.Sprint(name, "\x00", mode) }

func tgtOpen(ctx context.Context, c *call, a args) int64 {
	role, ok := a.text(0, abi.MaxName)
	mode := a.i32(2)
	grant, found := c.g.Targets[role]
	switch {
	case !ok || !found:
		return int64(abi.ENOENT)
	case mode != abi.ModeRead && mode != abi.ModeWrite:
		return int64(abi.EINVAL)
	case grant.Mode != Read && grant.Mode != Write:
		return int64(abi.EDENIED)
	case mode == abi.ModeWrite && (grant.Mode != Write || !writable.has(c.phase)):
		return int64(abi.EDENIED)
	}
	return c.add(ctx, &target{c: c, name: role, role: role, grant: grant, mode: mode})
}

// writable are the phases in which a target may be opened for writing.
var writable = in(abi.Install, abi.Commit, abi.Rollback, abi.Cleanup)

func tgtEntry(ctx context.Context, c *call, a args) int64 {
	dir := a.target(0)
	path, ok := a.text(1, abi.MaxName)
	if !ok || !fs.ValidPath(path) || path == "." || strings.ContainsAny(path, "\\\x00") ||
		dir.path != "" || dir.grant.Type != device.Directory {
		return int64(abi.EINVAL)
	}
	if dir.mode == abi.ModeWrite && c.phase == abi.Commit {
		return int64(abi.EDENIED)
	}
	return c.add(ctx, &target{
		c: c, name: dir.role + "/" + path, role: dir.role, path: path, perm: fs.FileMode(a.i32(3)) & fs.ModePerm,
		grant: dir.grant, mode: dir.mode,
	})
}

// add gives t a handle, or the one that the same target has already. Only
// phases that stage open it at once: in the others what was committed must
// not be staged anew by merely naming it.
func (c *call) add(ctx context.Context, t *target) int64 {
	k := key(t.name, t.mode)
	if old := c.targets[k]; old != nil {
		return int64(old.handle)
	}
	if c.failed != nil {
		return int64(abi.EIO)
	}
	var ok bool
	if t.handle, ok = c.handles.add(kindTarget, t); !ok {
		return int64(abi.EMFILE)
	}
	c.targets[k] = t
	if c.phase == abi.Install || t.mode == abi.ModeRead {
		if err := t.ensure(ctx); err != nil {
			c.forget(t)
			return c.errno(err)
		}
	}
	return int64(t.handle)
}

func (c *call) forget(t *target) {
	c.handles.drop(t.handle)
	delete(c.targets, key(t.name, t.mode))
}

// target gives what the handle in n stands for, or traps.
func (a args) target(n int) *target {
	t, ok := a.c.handles.get(a.i32(n), kindTarget).(*target)
	if !ok {
		a.trap("%d is no handle of a target", a.i32(n))
	}
	return t
}

// ensure opens the target at the door if it is not open.
func (t *target) ensure(ctx context.Context) error {
	switch {
	case t.c.failed != nil:
		return abi.EIO
	case t.open:
		return nil
	case t.mode == abi.ModeRead && t.path == "" && t.grant.Type == device.Directory:
		return nil // its entries are opened one by one
	case t.mode == abi.ModeRead:
		answer, err := t.do(ctx, device.Op{Kind: device.OpenRead, Target: t.grant.Ref, Entry: t.path})
		if errors.Is(err, fs.ErrNotExist) {
			return abi.ENOENT // the module may well ask
		}
		t.length = answer.Size
		return t.opened(answer, err)
	case t.path != "":
		return t.openEntry(ctx)
	}
	if t.grant.Type == device.Slots {
		// A half-written slot is never booted.
		if _, err := t.do(ctx, device.Op{Kind: device.Invalidate, Target: t.grant.Ref}); err != nil {
			return err
		}
	}
	if err := t.opened(t.do(ctx, device.Op{Kind: device.Open, Target: t.grant.Ref, Size: t.grant.Quota})); err != nil {
		return err
	}
	return t.resume(ctx)
}

func (t *target) openEntry(ctx context.Context) error {
	dir := t.c.targets[key(t.role, t.mode)]
	if dir == nil {
		return abi.EINVAL // closed in between
	}
	if err := dir.ensure(ctx); err != nil {
		return err
	}
	if err := t.opened(t.do(ctx, device.Op{Kind: device.OpenEntry, Handle: dir.door, Entry: t.path, Perm: t.perm})); err != nil {
		return err
	}
	return t.resume(ctx)
}

func (t *target) opened(answer device.Answer, err error) error {
	if err == nil {
		t.open, t.door = true, answer.Handle
	}
	return err
}

// resume cuts a file that this instance opens for the first time back to what
// the checkpoint knows of it, which is nothing at first.
func (t *target) resume(ctx context.Context) error {
	f := t.c.point.file(t.name)
	if f == nil {
		t.c.point.Files = append(t.c.point.Files, FileMark{Name: t.name})
		f = t.c.point.file(t.name)
		t.c.dirty = true
	}
	if t.c.fresh[t.name] || t.c.phase != abi.Install || t.path == "" && t.grant.Type == device.Directory {
		return nil
	}
	t.c.fresh[t.name] = true
	t.dirty = true
	_, err := t.do(ctx, device.Op{Kind: device.Truncate, Handle: t.door, Size: f.Synced})
	return err
}

func (t *target) do(ctx context.Context, op device.Op) (device.Answer, error) {
	answer, err := t.c.do(ctx, op)
	if err != nil {
		return answer, fmt.Errorf("target %s: %w", t.name, err)
	}
	return answer, nil
}

// content says whether t has bytes of its own.
func (t *target) content() bool { return t.path != "" || t.grant.Type != device.Directory }

func tgtWrite(ctx context.Context, c *call, a args) int64 {
	t, off, b := a.target(0), a.i64(1), a.bytes(2)
	if err := t.write(ctx, b, off, ""); err != nil {
		return c.errno(err)
	}
	return int64(len(b))
}

// write writes all of b within the quota. From is the role of the artifact
// that has the same bytes at the same offset, or "".
func (t *target) write(ctx context.Context, b []byte, off int64, from string) error {
	size := int64(len(b))
	if off < 0 || off > 1<<62 || !t.content() {
		return abi.EINVAL
	}
	if t.mode != abi.ModeWrite {
		return abi.EDENIED
	}
	if err := t.ensure(ctx); err != nil {
		return err
	}
	grown := max(0, off+size-t.c.point.file(t.name).Synced)
	if q := t.grant.Quota; q > 0 && grown > 0 && t.c.point.staged(t.role)+grown > q {
		return abi.EQUOTA
	}
	if size == 0 {
		return nil
	}
	t.dirty, t.c.dirty = true, true
	if _, err := t.do(ctx, device.Op{Kind: device.Write, Handle: t.door, Offset: off, Bytes: b}); err != nil {
		return err
	}
	t.c.point.file(t.name).wrote(off, size, from)
	return nil
}

func tgtRead(ctx context.Context, c *call, a args) int64 {
	t, off, b := a.target(0), a.i64(1), a.bytes(2)
	switch {
	case off < 0 || !t.content():
		return int64(abi.EINVAL)
	case t.mode != abi.ModeRead:
		return int64(abi.EDENIED) // the door writes or reads through a handle, never both
	}
	if len(b) == 0 {
		return 0
	}
	n, err := t.readAt(ctx, b, off)
	if err != nil {
		return c.errno(err)
	}
	return int64(n)
}

func tgtTruncate(ctx context.Context, c *call, a args) int64 {
	t, size := a.target(0), a.i64(1)
	switch {
	case size < 0 || !t.content():
		return int64(abi.EINVAL)
	case t.mode != abi.ModeWrite:
		return int64(abi.EDENIED)
	}
	if err := t.ensure(ctx); err != nil {
		return c.errno(err)
	}
	f := c.point.file(t.name)
	if size > f.Synced {
		return int64(abi.EINVAL) // writing extends, cutting does not
	}
	t.dirty, c.dirty = true, true
	if _, err := t.do(ctx, device.Op{Kind: device.Truncate, Handle: t.door, Size: size}); err != nil {
		return c.errno(err)
	}
	*f = FileMark{Name: f.Name, Synced: size, From: "*"} // a copy into it begins anew
	return 0
}

func tgtSync(ctx context.Context, c *call, a args) int64 {
	if err := a.target(0).sync(ctx); err != nil {
		return c.errno(err)
	}
	return 0
}

func (t *target) sync(ctx context.Context) error {
	if t.c.failed != nil {
		return abi.EIO
	}
	if !t.open || t.mode != abi.ModeWrite || !t.dirty && t.content() {
		return nil
	}
	if _, err := t.do(ctx, device.Op{Kind: device.Sync, Handle: t.door}); err != nil {
		return err
	}
	t.dirty = false
	return nil
}

func tgtSize(ctx context.Context, c *call, a args) int64 {
	t := a.target(0)
	if !t.content() {
		return int64(abi.EINVAL)
	}
	if t.mode == abi.ModeRead {
		return t.length
	}
	if f := c.point.file(t.name); f != nil {
		return f.Synced
	}
	return 0
}

func tgtClose(ctx context.Context, c *call, a args) int64 {
	t := a.target(0)
	if err := t.shut(ctx); err != nil {
		return c.errno(err)
	}
	c.forget(t)
	return 0
}

// shut syncs and closes at the door.
func (t *target) shut(ctx context.Context) error {
	if err := t.sync(ctx); err != nil || !t.open {
		return err
	}
	t.open = false
	_, err := t.do(ctx, device.Op{Kind: device.Close, Handle: t.door})
	return err
}

// tgtCommit makes what was staged take hold. If it is a copy of an artifact
// from end to end, the door must read that artifact's digest back.
func tgtCommit(ctx context.Context, c *call, a args) int64 {
	t := a.target(0)
	f := c.point.file(t.role)
	if t.path != "" || t.mode != abi.ModeWrite || f == nil {
		return int64(abi.EINVAL)
	}
	if err := t.shut(ctx); err != nil {
		return c.errno(err)
	}
	op := device.Op{
		Kind: device.Commit, Target: t.grant.Ref,
		Stamp: device.Stamp{Version: c.g.Version, Run: c.g.Run, Source: c.g.Source},
	}
	if t.content() {
		op.Size = f.Synced
		if from := c.point.Sources[f.From]; from.Digest != "" && from.Offset == f.Synced {
			op.Digest = from.Digest
		}
	}
	answer, err := t.do(ctx, op)
	if err != nil {
		return c.errno(err)
	}
	if c.result.Digests == nil {
		c.result.Digests = map[string]string{}
	}
	c.result.Digests[t.role] = answer.Digest
	c.forget(t)
	return 0
}

// tgtAbort drops what was staged, and every handle into it.
func tgtAbort(ctx context.Context, c *call, a args) int64 {
	t := a.target(0)
	switch {
	case c.failed != nil:
		return int64(abi.EIO)
	case t.path != "" || t.mode != abi.ModeWrite:
		return int64(abi.EINVAL)
	}
	if _, err := t.do(ctx, device.Op{Kind: device.Abort, Target: t.grant.Ref}); err != nil {
		return c.errno(err)
	}
	for _, other := range slices.Collect(maps.Values(c.targets)) {
		if other.mode == abi.ModeWrite && other.role == t.role {
			other.open = false
			c.forget(other)
		}
	}
	c.point.Files = slices.DeleteFunc(c.point.Files, func(f FileMark) bool { return within(f.Name, t.role) })
	c.point.Unpacked = slices.DeleteFunc(c.point.Unpacked, func(u Unpack) bool { return u.Target == t.role })
	c.dirty = true
	return 0
}
