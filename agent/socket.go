package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	maxReaders    = 16
	maxPending    = 256       // lines that wait for one reader
	maxPendingLen = 128 << 10 // bytes of them
	maxSaid       = 4 << 10   // bytes that a reader may send, which mean nothing
	readerTime    = 10 * time.Second
	farewellTime  = time.Second
	statusEvery   = 250 * time.Millisecond
)

// socket tells status and events to programs on the device, such as the
// maker's own screen, as lines of JSON. The first line to each is the status.
// It may be shared.
type socket struct {
	path     string
	listener *net.UnixListener
	file     fs.FileInfo   // what was made at path
	now      func() Status // called by several goroutines, without holding mu
	patience time.Duration // for a reader that does not read
	every    time.Duration // between a change and its status line
	due      chan struct{} // a status line is
	done     chan struct{} // closed by close
	work     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	readers map[*reader]bool
}

// reader is one connection. All but conn and wake is guarded by the socket's mu.
type reader struct {
	conn    net.Conn
	wake    chan struct{}
	begun   bool // the first line is there: writing may begin
	leaving bool // what is pending is the last
	status  []byte
	pending []pendingLine
	bytes   int // of pending
}

type pendingLine struct {
	text  []byte // with its end; shared with other readers
	lossy bool
}

// openSocket listens at path. The socket file of a process that is gone is
// replaced; one whose process answers is [disk.ErrLocked], and a file of any
// other kind is never touched. now gives the status of the moment and may be
// called by several goroutines at once.
func openSocket(path string, now func() Status) (*socket, error) {
	name, err := kernelName(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	if err := removeStale(path, name); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: closedToOthers}
	l, err := config.Listen(context.Background(), "unix", name)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	}
	s := &socket{path: path, listener: l.(*net.UnixListener), now: now, patience: readerTime, every: statusEvery,
		due: make(chan struct{}, 1), done: make(chan struct{}), readers: map[*reader]bool{}}
	s.listener.SetUnlinkOnClose(false) // close looks first whose file it is
	if err = os.Chmod(path, 0o660); err == nil {
		s.file, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), s.listener.Close(), os.Remove(path))
	}
	return s, nil
}

// kernelName checks the length of a path, and keeps one that begins with @
// from being taken for a name without a file.
func kernelName(path string) (string, error) {
	longest := len(syscall.RawSockaddrUnix{}.Path) - 1
	if len(path) > longest {
		return "", fmt.Errorf("socket %s: the path has %d bytes, and a socket's has at most %d: name a shorter one, such as socket: /run/updraft/agent.sock",
			path, len(path), longest)
	}
	if strings.HasPrefix(path, "@") {
		return "./" + path, nil
	}
	return path, nil
}

// closedToOthers narrows a socket before its file exists, where the system
// can do that: umask is the process's and may be 0.
func closedToOthers(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o660) })
}

func removeStale(path, name string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("socket %s: there is something else of that name (%v): remove it or name another path", path, info.Mode())
	}
	conn, err := net.DialTimeout("unix", name, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("socket %s is %w by a process that answers there", path, disk.ErrLocked), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("socket %s: see whether its process lives: %w", path, errors.Unwrap(err))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("socket: remove that of a process that is gone: %w", err)
	}
	return nil
}

// serve accepts readers until ctx ends or close is called. Then each of them
// gets what is left to tell, within a second; serve waits for all that.
func (s *socket) serve(ctx context.Context) {
	s.work.Go(func() {
		select {
		case <-ctx.Done():
			s.close()
		case <-s.done:
		}
	})
	s.work.Go(s.tellStatus)
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil { // no file descriptor is free, perhaps
			s.sleep(time.Second)
			continue
		}
		s.admit(conn)
	}
	s.work.Wait()
}

// close ends serve, or what openSocket began. It may be called again.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.done)
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.file) && info.ModTime().Equal(s.file.ModTime()) { // numbers of files are used again
		_ = os.Remove(s.path) // one that stays is replaced at the next start
	}
	_ = s.listener.Close()
	for r := range s.readers {
		_ = r.conn.SetWriteDeadline(time.Now().Add(farewellTime))
		r.leave()
	}
}

// sleep ends early when the socket is closed, and then says no.
func (s *socket) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.done:
		return false
	case <-t.C:
		return true
	}
}

// admit starts telling a reader, or refuses it.
func (s *socket) admit(conn net.Conn) {
	r := &reader{conn: conn, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	full, closed := len(s.readers) >= maxReaders, s.closed
	if !full && !closed {
		s.readers[r] = true // events from here on wait behind the first line
	}
	s.mu.Unlock()
	if full && !closed {
		line := encodeLine(refusedLine{kindRefused, fmt.Sprintf("%d programs look on already, and more are not let in: try again later", maxReaders)})
		_ = conn.SetWriteDeadline(time.Now().Add(farewellTime))
		_, _ = conn.Write(line) // whoever has gone need not know
	}
	if full || closed {
		_ = conn.Close()
		return
	}
	s.work.Go(func() { s.write(r) })
	s.work.Go(func() { s.listen(r) })
}

// listen notices that a reader is gone, or talks too much.
func (s *socket) listen(r *reader) {
	_, _ = io.CopyN(io.Discard, r.conn, maxSaid)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.leave()
}

// write tells one reader all that there is until it leaves.
func (s *socket) write(r *reader) {
	first := encodeLine(s.now())
	s.mu.Lock()
	r.pending = append([]pendingLine{{text: first}}, r.pending...)
	r.begun = true
	r.poke()
	s.mu.Unlock()
	for range r.wake {
		batch, last := s.take(r)
		_, err := batch.WriteTo(r.conn)
		if err != nil || last {
			break
		}
	}
	s.mu.Lock()
	delete(s.readers, r)
	s.mu.Unlock()
	_ = r.conn.Close()
}

// take gives what is to be written now, and whether that is the end.
func (s *socket) take(r *reader) (batch net.Buffers, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range r.pending {
		batch = append(batch, l.text)
	}
	if r.status != nil {
		batch = append(batch, r.status)
	}
	r.pending, r.bytes, r.status = nil, 0, nil
	if !s.closed {
		_ = r.conn.SetWriteDeadline(time.Now().Add(s.patience))
	}
	return batch, r.leaving
}

func (r *reader) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// leave makes what is pending the last.
func (r *reader) leave() {
	r.leaving = true
	if r.begun {
		r.poke()
	}
}

// add puts a line behind the others. A reader that is slow loses progress
// first; one for which even the rest is too much is cut off.
func (r *reader) add(l pendingLine) {
	if r.leaving {
		return
	}
	if r.full(l) {
		r.dropProgress()
	}
	switch {
	case !r.full(l):
		r.pending = append(r.pending, l)
		r.bytes += len(l.text)
	case !l.lossy:
		r.leaving = true
		_ = r.conn.Close()
	}
	if r.begun {
		r.poke()
	}
}

func (r *reader) full(l pendingLine) bool {
	return len(r.pending) >= maxPending || r.bytes+len(l.text) > maxPendingLen
}

func (r *reader) dropProgress() {
	var kept []pendingLine
	r.bytes = 0
	for _, l := range r.pending {
		if !l.lossy {
			kept = append(kept, l)
			r.bytes += len(l.text)
		}
	}
	r.pending = kept
}

// event tells an event to all readers. It never waits for one.
func (s *socket) event(e engine.Event) {
	if e.Kind != engine.EventProgress {
		defer s.changed()
	}
	line := pendingLine{encodeLine(e), e.Kind == engine.EventProgress}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.readers {
		r.add(line)
	}
}

// changed asks for a status line to all readers, if the status is another than
// the last they were told. It never waits; what changes until the line goes
// out is in it too.
func (s *socket) changed() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// tellStatus waits a while after each change, as often more follow at once.
func (s *socket) tellStatus() {
	var last Status
	for {
		select {
		case <-s.done:
			return
		case <-s.due:
		}
		if !s.sleep(s.every) {
			return
		}
		st := s.now()
		at := st.Time
		if st.Time = last.Time; reflect.DeepEqual(st, last) {
			continue
		}
		st.Time = at
		last = st
		s.tell(encodeLine(st))
	}
}

// tell puts a status line behind all that is pending, instead of an older one.
func (s *socket) tell(status []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.readers {
		if r.leaving {
			continue
		}
		r.status = status
		if r.begun {
			r.poke()
		}
	}
}

// encodeLine gives v as a line of JSON. What the socket tells always has one.
func encodeLine(v any) []byte {
	line, err := json.Marshal(v)
	if err != nil { // a time beyond the year 9999
		line = []byte(`{"kind":"log","text":"what there was to tell has no form in JSON"}`)
	}
	return append(line, '\n')
}
