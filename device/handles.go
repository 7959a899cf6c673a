package device

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/updraft-ota/updraft/internal/disk"
)

const maxHandles = 1024

// handle is something that is open: a file, or a staged directory whose
// entries can be opened.
type handle struct {
	run, ref string
	file     disk.File // nil: a staged directory
	path     string
	size     int64 // of what may be read; bytes
	write    bool
	limit    int64 // bytes that fit; 0: no limit
	why      string
	// keep says that Truncate leaves the file's length as it is.
	keep  bool
	sync  func() error // the names, after the file
	stage *stage
	entry string
	wire  *wire // a serial port

	mu     sync.Mutex
	sealed bool // no more writes
	spoilt bool // a sync has failed
}

// handles are the open ones, by number. The zero value is ready.
type handles struct {
	mu    sync.Mutex
	last  int64
	open  map[int64]*handle
	spoil map[string]bool // ref and run of what a failed sync may have lost
}

func (s *handles) add(h *handle) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxHandles {
		return 0, errors.Join(fmt.Errorf("%d handles are open: %w", len(s.open), ErrQuota), h.closeFile())
	}
	if s.open == nil {
		s.open = map[int64]*handle{}
	}
	s.last++
	s.open[s.last] = h
	return s.last, nil
}

func (s *handles) get(id int64) (*handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.open[id]
	if h == nil {
		return nil, fmt.Errorf("handle %d: %w", id, fs.ErrClosed)
	}
	return h, nil
}

// name says what a handle is, for messages.
func (s *handles) name(id int64) string {
	h, err := s.get(id)
	if err != nil {
		return fmt.Sprintf("handle %d", id)
	}
	if h.entry != "" {
		return h.ref + " " + quote(h.entry)
	}
	return h.ref
}

func (s *handles) close(id int64) error {
	h, err := s.get(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.open, id)
	s.mu.Unlock()
	return h.closeFile()
}

func (h *handle) closeFile() error {
	if h.wire != nil {
		return h.wire.port.Close()
	}
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}

// of gives what run has open for writing at ref.
func (s *handles) of(run, ref string) []*handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*handle
	for _, h := range s.open {
		if h.run == run && h.ref == ref && h.write {
			all = append(all, h)
		}
	}
	return all
}

// seal ends the writing of run at ref. What is written is synced through the
// handles that wrote it, since they alone are sure to be told of a failure.
func (s *handles) seal(run, ref string) error {
	var err error
	for _, h := range s.of(run, ref) {
		h.mu.Lock()
		h.sealed = true
		h.mu.Unlock()
		if h.file != nil {
			err = errors.Join(err, s.syncFile(h))
		}
	}
	if err == nil && s.isSpoilt(run, ref) {
		err = fmt.Errorf("a sync of %s has failed, it must be opened again and written anew: %w", ref, fs.ErrInvalid)
	}
	return err
}

// drop closes what run has open for writing at ref.
func (s *handles) drop(run, ref string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for id, h := range s.open {
		if h.run == run && h.ref == ref && h.write {
			delete(s.open, id)
			err = errors.Join(err, h.closeFile())
		}
	}
	return err
}

// spoiled notes that what run wrote at ref may be lost, whatever can be read.
func (s *handles) spoiled(run, ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spoil == nil {
		s.spoil = map[string]bool{}
	}
	s.spoil[ref+" "+run] = true
}

func (s *handles) isSpoilt(run, ref string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spoil[ref+" "+run]
}

// anew notes that run begins at ref from nothing.
func (s *handles) anew(run, ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.spoil, ref+" "+run)
}

func (s *handles) read(op Op) (Answer, error) {
	h, err := s.get(op.Handle)
	switch {
	case err != nil:
		return Answer{}, err
	case h.write || h.file == nil:
		return Answer{}, fmt.Errorf("the handle is for writing: %w", ErrDenied)
	case op.Offset < 0:
		return Answer{}, fmt.Errorf("offset %d: %w: it is negative", op.Offset, ErrDenied)
	}
	want := op.Bytes[:max(0, min(int64(len(op.Bytes)), h.size-op.Offset))]
	n, err := h.file.ReadAt(want, op.Offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return Answer{N: n}, err
}

func (s *handles) writable(id int64) (*handle, error) {
	h, err := s.get(id)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.write:
		return nil, fmt.Errorf("the handle is for reading: %w", ErrDenied)
	case h.sealed:
		return nil, fmt.Errorf("it is committed already: %w", ErrDenied)
	case h.spoilt:
		return nil, fmt.Errorf("a sync has failed, open it again and write it anew: %w", fs.ErrInvalid)
	}
	return h, nil
}

func (s *handles) write(op Op) (Answer, error) {
	h, err := s.writable(op.Handle)
	switch {
	case err != nil:
		return Answer{}, err
	case h.file == nil:
		return Answer{}, fmt.Errorf("it is a directory, open an entry: %w", ErrDenied)
	case op.Offset < 0:
		return Answer{}, fmt.Errorf("offset %d: %w: it is negative", op.Offset, ErrDenied)
	}
	length := int64(len(op.Bytes))
	if h.limit > 0 && (op.Offset > h.limit || length > h.limit-op.Offset) || op.Offset+length < 0 {
		return Answer{}, fmt.Errorf("%d bytes at %d: %w: %s is %d bytes", length, op.Offset, ErrQuota, h.why, h.limit)
	}
	if h.stage != nil {
		if err := h.stage.grow(h.entry, op.Offset+length); err != nil {
			return Answer{}, err
		}
	}
	n, err := h.file.WriteAt(op.Bytes, op.Offset)
	if err != nil {
		err = fmt.Errorf("%d bytes needed at %d: %w", length, op.Offset, err)
	}
	return Answer{N: n}, err
}

func (s *handles) truncate(op Op) error {
	h, err := s.writable(op.Handle)
	switch {
	case err != nil:
		return err
	case h.file == nil:
		return fmt.Errorf("it is a directory, truncate an entry: %w", ErrDenied)
	case op.Size < 0:
		return fmt.Errorf("size %d: %w: it is negative", op.Size, ErrDenied)
	}
	size, err := h.file.Size()
	if err != nil {
		return err
	}
	if size < op.Size {
		return fmt.Errorf("cut to %d bytes: %w: it has only %d", op.Size, ErrConflict, size)
	}
	if h.keep || size == op.Size {
		return nil
	}
	if err := h.file.Truncate(op.Size); err != nil {
		return err
	}
	if h.stage != nil {
		h.stage.shrink(h.entry, op.Size)
	}
	return nil
}

func (s *handles) sync(op Op) error {
	h, err := s.writable(op.Handle)
	if err != nil {
		return err
	}
	if h.file == nil {
		if err := h.stage.syncAll(); err != nil {
			s.spoiled(h.run, h.ref)
			return err
		}
		return nil
	}
	return s.syncFile(h)
}

// syncFile syncs one file and its name. A failure is final.
func (s *handles) syncFile(h *handle) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.spoilt {
		return fmt.Errorf("a sync has failed before: %w", fs.ErrInvalid)
	}
	err := h.file.Sync()
	if err == nil && h.sync != nil {
		err = h.sync()
	}
	if err != nil {
		h.spoilt = true
		s.spoiled(h.run, h.ref)
	}
	return err
}

func (s *handles) openEntry(op Op) (Answer, error) {
	d, err := s.writable(op.Handle)
	if err != nil {
		return Answer{}, err
	}
	if d.stage == nil || d.file != nil {
		return Answer{}, fmt.Errorf("it is no directory: %w", ErrDenied)
	}
	if op.Perm.IsDir() {
		return Answer{}, d.stage.makeFolder(op.Entry)
	}
	h, err := d.stage.openEntry(op.Entry, op.Perm)
	if err != nil {
		return Answer{}, err
	}
	h.run, h.ref, h.limit, h.why = d.run, d.ref, 0, ""
	id, err := s.add(h)
	return Answer{Handle: id, Size: h.size}, err
}
