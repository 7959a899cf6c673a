package wasmhost

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// svcUnpack writes the files and folders of an archive below a directory
// target. Folders get the mode 0755, files their own; owners and times are
// left out. What the target could not have as it stands, a link, a device,
// setuid, a name that is not local or stands there twice, is EBADDATA: nothing
// is repaired or passed over.
//
// The checkpoint counts the members that are done. A repeated call reads the
// archive from its beginning, since what it holds is decoded in order, and
// writes only what is behind that.
func svcUnpack(ctx context.Context, c *call, a args) int64 {
	from, t := a.source(0), a.target(1)
	if t.content() {
		return int64(abi.EINVAL)
	}
	if err := t.writable(ctx); err != nil {
		return c.errno(err)
	}
	u := &unpacking{c: c, into: t, source: from.label(), seen: map[string]bool{}}
	if u.record().Whole {
		return u.record().Files
	}
	archive, err := openArchive(ctx, c, from)
	if err != nil {
		return c.refuse(err)
	}
	defer archive.free()
	if err := u.all(ctx, archive); err != nil {
		return c.refuse(err)
	}
	return u.record().Files
}

// unpacking is an svc_unpack under way.
type unpacking struct {
	c      *call
	into   *target
	source string
	seen   map[string]bool // names so far
	names  int             // their bytes
	open   int64           // the door's handle of the file that is written, or 0
}

func (u *unpacking) record() *Unpack { return u.c.point.unpacked(u.source, u.into.role) }

// all goes through the archive and skips what an earlier call did.
func (u *unpacking) all(ctx context.Context, from *archive) error {
	for at := int64(0); ; at++ {
		f, err := from.next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name, err := u.check(f)
		if err != nil {
			return err
		}
		if at < u.record().Members {
			continue
		}
		if err := u.member(ctx, from, f, name); err != nil {
			return errors.Join(err, u.shut(ctx))
		}
		u.c.dirty = true
		if err := u.pause(ctx); err != nil {
			return err
		}
	}
	u.record().Whole = true
	if err := u.c.save(ctx); err != nil {
		return err
	}
	u.c.progress(u.record().Bytes, 0, u.source)
	return nil
}

// check gives the name of a member that may be unpacked.
func (u *unpacking) check(f found) (string, error) {
	name, ok := f.name()
	if !ok || f.kind == special || f.kind == regular && f.odd || u.seen[name] {
		return "", abi.EBADDATA
	}
	u.seen[name] = true
	u.names += len(name)
	if len(u.seen) > maxMembers || u.names > maxMemberNames {
		return "", abi.EQUOTA
	}
	return name, nil
}

// member writes one file or folder.
func (u *unpacking) member(ctx context.Context, from *archive, f found, name string) error {
	if f.kind == folder {
		if name != "" {
			if _, err := u.entry(ctx, name, fs.ModeDir|0o755); err != nil {
				return err
			}
		}
		u.record().Members++
		return nil
	}
	body, err := f.body()
	if err != nil {
		return from.blame(err)
	}
	if u.open, err = u.entry(ctx, name, f.perm); err != nil {
		return err
	}
	done := u.record().Done
	if _, err := u.into.do(ctx, device.Op{Kind: device.Truncate, Handle: u.open, Size: done}); err != nil {
		return err
	}
	m := &member{of: from, body: body}
	for at := done; ; {
		n, err := m.readAt(ctx, u.c.piece(), at)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := u.write(ctx, u.c.piece()[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	if err := u.shut(ctx); err != nil {
		return err
	}
	r := u.record()
	r.Members, r.Files, r.Done = r.Members+1, r.Files+1, 0
	return nil
}

// entry asks the door for a file or folder. A name that it refuses is the
// archive's fault.
func (u *unpacking) entry(ctx context.Context, name string, perm fs.FileMode) (int64, error) {
	answer, err := u.into.do(ctx, device.Op{Kind: device.OpenEntry, Handle: u.into.door, Entry: name, Perm: perm})
	switch {
	case errors.Is(err, device.ErrDenied):
		return 0, abi.EBADDATA
	case errors.Is(err, device.ErrQuota):
		return 0, abi.EQUOTA
	}
	return answer.Handle, err
}

func (u *unpacking) write(ctx context.Context, b []byte, off int64) error {
	size := int64(len(b))
	if q := u.into.grant.Quota; q > 0 && u.c.point.staged(u.into.role)+size > q {
		return abi.EQUOTA
	}
	if _, err := u.into.do(ctx, device.Op{Kind: device.Write, Handle: u.open, Offset: off, Bytes: b}); err != nil {
		return err
	}
	r := u.record()
	r.Done += size
	r.Bytes += size
	u.c.moved += size
	return u.pause(ctx)
}

// pause makes a checkpoint if one is due. The file that is open is synced
// through the handle that wrote it, the others with their directory.
func (u *unpacking) pause(ctx context.Context) error {
	if u.open != 0 && u.c.due() {
		if _, err := u.into.do(ctx, device.Op{Kind: device.Sync, Handle: u.open}); err != nil {
			return err
		}
	}
	return u.c.pause(ctx, u.record().Bytes, 0, u.source, false)
}

func (u *unpacking) shut(ctx context.Context) error {
	if u.open == 0 {
		return nil
	}
	handle := u.open
	u.open = 0
	_, err := u.into.do(ctx, device.Op{Kind: device.Close, Handle: handle})
	return err
}
