package wasmhost

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// What an archive may have at the most. The door has the same limits for the
// directory that one is unpacked into.
const (
	maxMembers     = 1 << 16
	maxMemberNames = 8 << 20 // bytes of all names
)

// kind of a member.
type kind uint8

const (
	regular kind = iota + 1
	folder
	special // link, device, pipe: never unpacked and never opened
)

// found is a member as the archive lists it.
type found struct {
	raw  string // name as it stands there
	kind kind
	perm fs.FileMode
	// odd are mode bits that no entry of a target can have, such as setuid.
	odd  bool
	size int64 // bytes
	// body opens its bytes, good until the next member if the archive is a stream.
	body func() (io.Reader, error)
}

// name is raw without leading "./" and without the slash behind a folder, ""
// for the folder that all else is in. Others than local slash paths are not ok.
func (f found) name() (name string, ok bool) {
	name = f.raw
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	if f.kind == folder {
		name = strings.TrimSuffix(name, "/")
		if name == "" || name == "." {
			return "", f.raw != "" && f.raw[0] == '.'
		}
	}
	return name, name != "." && len(name) <= abi.MaxName && fs.ValidPath(name) && !strings.ContainsAny(name, "\\\x00")
}

// archive is a walk over the members of a tar, compressed or not, or of a zip.
// A tar is a stream: it goes forwards only.
type archive struct {
	c    *call
	in   *reading // what is below: it knows whose fault an error is
	walk func() (found, error)
	free func()
	last *member // of a tar: the one that is being read
	zip  bool
}

// openArchive begins at the first member. What it is shows in its first bytes.
func openArchive(ctx context.Context, c *call, from origin) (*archive, error) {
	a := &archive{c: c, in: &reading{ctx: ctx, c: c, from: from}, free: func() {}}
	packed := bufio.NewReaderSize(a.in, 64<<10)
	head, err := packed.Peek(codec.DetectLength)
	if err != nil && err != io.EOF {
		return nil, err
	}
	plain := io.Reader(packed)
	name := codec.Detect(head)
	switch {
	case isZip(head):
		if !from.anywhere() {
			return nil, abi.ESEQ // its directory is at its end
		}
		a.zip = true
		if a.walk, err = walkZip(&placed{a.in}, from.size()); err != nil {
			return nil, a.blame(err)
		}
		return a, nil
	case name != "":
		format, err := codec.Lookup(name)
		if err != nil {
			return nil, err
		}
		out, err := format.NewReader(ctx, packed, codec.Limits{Size: codec.AnySize})
		if err != nil {
			return nil, a.blame(err)
		}
		a.free = func() { _ = out.Close() } // it only gives memory back
		plain = bufio.NewReaderSize(&watched{a.in, out}, 64<<10)
	}
	a.walk = (&tarReader{r: plain}).next
	return a, nil
}

// next gives the next member; io.EOF is the end.
func (a *archive) next(ctx context.Context) (found, error) {
	a.in.ctx = ctx
	if a.last != nil {
		a.last.over, a.last = true, nil
	}
	f, err := a.walk()
	if err != nil && err != io.EOF {
		err = a.blame(err)
	}
	return f, err
}

// blame gives the error of the content below, if it had one, or else what
// is wrong with the archive.
func (a *archive) blame(err error) error {
	switch {
	case a.in.failed != nil:
		return a.in.failed
	case errors.Is(err, codec.ErrTooLarge), errors.Is(err, errors.ErrUnsupported), errors.Is(err, abi.EQUOTA):
		return err
	}
	return abi.EBADDATA
}

// member is a file in an archive as the module opened it. It is read forwards.
type member struct {
	of     *archive
	parent origin
	name   string
	length int64
	handle int32
	body   io.Reader
	at     int64
	over   bool // a tar went on behind it
}

// artEntry opens a file of an archive: in a stream, one that comes behind the
// one opened before it. ENOENT means that there is none from there on.
func artEntry(ctx context.Context, c *call, a args) int64 {
	from := a.source(0)
	path, ok := a.text(1, abi.MaxName)
	if !ok || !fs.ValidPath(path) || path == "." || strings.ContainsAny(path, "\\\x00") {
		return int64(abi.EINVAL)
	}
	m := &member{parent: from, name: path}
	handle, ok := c.handles.add(kindArtifact, m)
	if !ok {
		return int64(abi.EMFILE)
	}
	m.handle = handle
	if err := c.find(ctx, m); err != nil {
		c.handles.drop(handle)
		return c.refuse(err)
	}
	return int64(handle)
}

// find walks to the member of that name.
func (c *call) find(ctx context.Context, m *member) error {
	a := c.archives[m.parent]
	if a == nil || a.zip {
		var err error
		if a, err = openArchive(ctx, c, m.parent); err != nil {
			return err
		}
		if c.archives == nil {
			c.archives = map[origin]*archive{}
		}
		c.archives[m.parent] = a
	}
	for {
		f, err := a.next(ctx)
		if err == io.EOF {
			return abi.ENOENT
		}
		if err != nil {
			return err
		}
		if name, ok := f.name(); !ok || name != m.name {
			continue
		}
		if f.kind != regular {
			return abi.EINVAL
		}
		if m.body, err = f.body(); err != nil {
			return a.blame(err)
		}
		m.of, m.length = a, f.size
		if !a.zip {
			a.last = m
		}
		return nil
	}
}

// closeMembers takes the handles of what was opened in an archive.
func (c *call) closeMembers(of origin) {
	for i := range c.handles.slots {
		if m, ok := c.handles.slots[i].value.(*member); ok && m.parent == of {
			c.closeMembers(m)
			m.close()
			c.handles.drop(m.handle)
		}
	}
}

func (m *member) close() {
	if a := m.of.c.archives[m]; a != nil { // an archive in an archive
		a.free()
		delete(m.of.c.archives, m)
	}
}

func (m *member) size() int64    { return m.length }
func (m *member) label() string  { return m.parent.label() + "//" + m.name }
func (m *member) anywhere() bool { return false }

func (m *member) readAt(ctx context.Context, b []byte, off int64) (int, error) {
	if m.over || off < m.at {
		return 0, abi.ESEQ
	}
	m.of.in.ctx = ctx
	for m.at < off {
		skip := m.of.c.piece()
		n, err := m.read(skip[:min(int64(len(skip)), off-m.at)])
		if n == 0 || err != nil {
			return 0, err
		}
	}
	return m.read(b)
}

// read fills b as far as the member goes.
func (m *member) read(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = m.body.Read(b[n:])
		n += k
	}
	m.at += int64(n)
	if err == io.EOF {
		return n, nil
	}
	if err != nil {
		err = m.of.blame(err)
	}
	return n, err
}
