package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// handle is an open file of a Forgetful.
type handle struct {
	disk   *Forgetful
	node   *inode
	name   string // absolute, as it was opened
	flag   int
	epoch  uint64 // cuts there had been then
	closed bool
}

func (h *handle) usable() error {
	switch {
	case h.epoch != h.disk.epochs:
		return ErrCut
	case h.closed:
		return fs.ErrClosed
	}
	return nil
}

func (h *handle) access(not int, refusal error) error {
	if err := h.usable(); err != nil {
		return err
	}
	if h.flag&(os.O_WRONLY|os.O_RDWR) == not {
		return refusal
	}
	return nil
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	err := h.usable()
	if err == nil && off < 0 {
		err = syscall.EINVAL
	}
	if err == nil && len(p) > 0 {
		err = h.access(os.O_WRONLY, syscall.EBADF)
	}
	if err != nil || len(p) == 0 {
		return 0, wrap("read", h.name, err)
	}
	c := &h.node.file.live
	n := int(min(int64(len(p)), max(0, c.size-off)))
	c.readAt(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	call := Call{Op: "write", Name: h.name, Off: off, Len: int64(len(p))}
	check := func() error {
		err := h.usable()
		switch {
		case err != nil:
		case off < 0:
			err = syscall.EINVAL
		case len(p) > 0 && off > maxSize-int64(len(p)):
			err = syscall.EFBIG
		case len(p) > 0:
			err = h.access(os.O_RDONLY, syscall.EBADF)
		}
		return err
	}
	if len(p) == 0 {
		h.disk.mu.Lock()
		defer h.disk.mu.Unlock()
		return 0, wrap("write", h.name, check())
	}
	n := 0
	_, fault, err := h.disk.ask(call, check)
	if errors.Is(fault, errShort) {
		p, fault = p[:len(p)/2], nil
	}
	if err == nil {
		err = fault
	}
	if err == nil {
		n, err = h.write(p, off, check)
	}
	if err == nil && int64(n) < call.Len {
		err = io.ErrShortWrite
	}
	return n, wrap("write", h.name, err)
}

func (h *handle) write(p []byte, off int64, check func() error) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := check(); err != nil {
		return 0, err
	}
	return h.disk.write(h.node.file, p, off)
}

// write writes page by page as long as there is room.
func (f *Forgetful) write(s *stored, p []byte, off int64) (done int, err error) {
	for done < len(p) {
		at := off & (pageSize - 1)
		n := min(int64(len(p)-done), pageSize-at)
		growth := s.live.growth(off, n)
		if growth > f.room() {
			return done, syscall.ENOSPC
		}
		f.used += growth
		copy(s.live.writable(off >> pageBits)[at:], p[done:done+int(n)])
		s.live.size = max(s.live.size, off+n)
		s.dirty[off>>pageBits] = struct{}{}
		done, off = done+int(n), off+n
	}
	return done, nil
}

func (h *handle) Truncate(size int64) error {
	return h.change(Call{Op: "truncate", Len: size}, func(do bool) error {
		err := h.access(os.O_RDONLY, syscall.EINVAL)
		switch {
		case err != nil:
		case size < 0:
			err = syscall.EINVAL
		case size > maxSize:
			err = syscall.EFBIG
		case do:
			h.disk.resize(h.node, size)
		}
		return err
	})
}

// resize changes the size of a file. Growing takes the rest of the last page.
func (f *Forgetful) resize(n *inode, size int64) {
	s := n.file
	f.used -= s.live.used()
	s.live.resize(size)
	f.used += s.live.used()
	s.low = min(s.low, size)
	if size&(pageSize-1) != 0 {
		s.dirty[size>>pageBits] = struct{}{}
	}
}

func (h *handle) Sync() error {
	return h.change(Call{Op: "sync"}, func(do bool) error {
		if err := h.usable(); err != nil || !do {
			return err
		}
		if lie := h.disk.LieSync; lie == nil || !lie(h.name) {
			h.node.file.sync()
		}
		return nil
	})
}

// change makes a call that the hook may refuse.
func (h *handle) change(call Call, step func(do bool) error) error {
	call.Name = h.name
	_, fault, err := h.disk.ask(call, func() error { return step(false) })
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	switch {
	case err != nil:
	case fault != nil:
		err = fault
		if call.Op == "sync" && !errors.Is(fault, ErrCut) {
			h.node.file.giveUp()
		}
	default:
		err = step(true)
	}
	return wrap(call.Op, h.name, err)
}

func (h *handle) Size() (int64, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.usable(); err != nil {
		return 0, wrap("stat", h.name, err)
	}
	return h.node.file.live.size, nil
}

func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.usable(); err != nil {
		return wrap("close", h.name, err)
	}
	h.closed = true
	h.node.opened--
	h.disk.free(h.node)
	return nil
}
