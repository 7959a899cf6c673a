package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// listening is a socket that serves until the test ends. What it tells as
// waiting commands is n.
type listening struct {
	*socket
	n   atomic.Int64
	end func() // and waits
}

func listen(t *testing.T, tune func(*socket)) *listening {
	t.Helper()
	none := goleak.IgnoreCurrent()
	l := &listening{}
	s, err := openSocket(filepath.Join(t.TempDir(), "s"), func() Status {
		return Status{Kind: kindStatus, Waiting: int(l.n.Load()), Planes: map[string]PlaneStatus{"aws": {Connected: true}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if tune != nil {
		tune(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.serve(ctx) }()
	l.socket, l.end = s, func() { cancel(); <-ended }
	t.Cleanup(func() {
		l.end()
		if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket file is left: %v", err)
		}
		goleak.VerifyNone(t, none)
	})
	return l
}

// client reads lines.
type client struct {
	t *testing.T
	net.Conn
	*bufio.Reader
}

// dial connects and has seen the first line.
func dial(t *testing.T, l *listening) *client {
	t.Helper()
	c := connect(t, l)
	if got := c.line(); got.Kind != kindStatus || !got.Planes["aws"].Connected {
		t.Fatalf("first line = %+v, want the status", got)
	}
	return c
}

func connect(t *testing.T, l *listening) *client {
	t.Helper()
	conn, err := net.Dial("unix", l.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// told is a line of any kind.
type told struct {
	Status
	Run json.RawMessage `json:"run"` // an object in a status, an id in an event
	Seq int64           `json:"seq"`
}

func (c *client) line() told {
	c.t.Helper()
	text, err := c.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("read a line: %v, have %q", err, text)
	}
	var l told
	if err := json.Unmarshal(text, &l); err != nil {
		c.t.Fatalf("%q: %v", text, err)
	}
	return l
}

// event is the next line that is no status.
func (c *client) event() told {
	c.t.Helper()
	for {
		if got := c.line(); got.Kind != kindStatus {
			return got
		}
	}
}

func step(seq int) engine.Event {
	return engine.Event{Seq: int64(seq), Kind: engine.EventStep, Text: strings.Repeat("x", 500)}
}

func progress(seq int) engine.Event {
	return engine.Event{Seq: int64(seq), Kind: engine.EventProgress, Text: strings.Repeat("x", 500)}
}

func TestTheStatusComesFirstThenEventsInOrder(t *testing.T) {
	l := listen(t, nil)
	if info, err := os.Stat(l.path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("socket: %v, %v, want mode 0660", info.Mode(), err)
	}
	a, b := dial(t, l), dial(t, l)
	for i := range 100 {
		l.event(step(i))
	}
	l.end() // what is told already still arrives
	for i := range 100 {
		if x, y := a.event(), b.event(); x.Seq != int64(i) || y.Seq != int64(i) {
			t.Fatalf("events %d and %d, want %d", x.Seq, y.Seq, i)
		}
	}
	if rest, err := io.ReadAll(a); err != nil || strings.Contains(string(rest), "step") {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

func TestChangesOfTheStatusAreTakenTogether(t *testing.T) {
	const every = 20 * time.Millisecond
	l := listen(t, func(s *socket) { s.every = every })
	c := dial(t, l)
	began := time.Now()
	for i := range 1000 {
		l.n.Store(int64(i))
		l.changed()
	}
	lines := 1
	for got := c.line(); got.Waiting != 999; got = c.line() {
		lines++
	}
	if most := int(time.Since(began) / every); lines > most {
		t.Errorf("%d lines for 1000 changes in %v, want at most %d", lines, time.Since(began), most)
	}
}

func TestAStatusIsToldOnce(t *testing.T) {
	l := listen(t, func(s *socket) { s.every = time.Microsecond })
	c := dial(t, l)
	last := -1
	for n := 1; n < 50; n++ {
		l.n.Store(int64(n))
		l.event(step(n)) // by itself a reason to look
		for last != n {
			got := c.line()
			if got.Kind != kindStatus {
				continue
			}
			if got.Waiting == last {
				t.Fatalf("status %d was told twice", last)
			}
			last = got.Waiting
		}
		l.changed() // but it has not
	}
}

func TestASlowReaderLosesProgressFirst(t *testing.T) {
	l := listen(t, nil)
	c := dial(t, l)
	const n = 20000
	for i := range n { // far more than the kernel and the queue hold
		l.event(progress(i))
	}
	l.event(step(n))
	lines, last := 0, int64(-1)
	for last != n {
		got := c.event()
		if got.Seq <= last {
			t.Fatalf("event %d after %d", got.Seq, last)
		}
		last = got.Seq
		lines++
	}
	if lines == n+1 {
		t.Error("nothing was lost: the reader was not slow")
	}
}

func TestAReaderThatDoesNotReadIsCutOff(t *testing.T) {
	l := listen(t, func(s *socket) { s.patience = time.Hour })
	c, other := dial(t, l), dial(t, l)
	for i := range 20000 {
		l.event(step(i))
		if got := other.event(); got.Seq != int64(i) {
			t.Fatalf("the other reader has %d, want %d", got.Seq, i)
		}
	}
	got, err := io.ReadAll(c)
	if n := strings.Count(string(got), "\n"); n >= 20000 || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("read %d lines, %v, want an early end", n, err)
	}
}

func TestAReaderThatTakesTooLongIsCutOff(t *testing.T) {
	l := listen(t, func(s *socket) { s.patience = 50 * time.Millisecond })
	dial(t, l)
	for i := 0; l.count() > 0; i++ { // progress alone fills no queue
		l.event(progress(i))
	}
}

func (l *listening) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.readers)
}

func TestOnlySixteenMayRead(t *testing.T) {
	l := listen(t, nil)
	var all []*client
	for range maxReaders {
		all = append(all, dial(t, l))
	}
	if got, err := io.ReadAll(connect(t, l)); err != nil || string(got) !=
		`{"kind":"refused","text":"16 programs look on already, and more are not let in: try again later"}`+"\n" {
		t.Errorf("the 17th reads %q, %v", got, err)
	}
	if _, err := Look(t.Context(), l.path); err == nil || !strings.Contains(err.Error(), "16 programs look on already") {
		t.Errorf("look: %v", err)
	}
	if err := all[3].Close(); err != nil {
		t.Fatal(err)
	}
	for l.count() == maxReaders {
		runtime.Gosched()
	}
	if s, err := Look(t.Context(), l.path); err != nil || !s.Planes["aws"].Connected {
		t.Errorf("look after one has left: %+v, %v", s, err)
	}
}

func TestWhatAReaderSendsMeansNothing(t *testing.T) {
	l := listen(t, nil)
	c := dial(t, l)
	if _, err := c.Write([]byte("hello?\n")); err != nil {
		t.Fatal(err)
	}
	l.event(step(1))
	if got := c.line(); got.Seq != 1 {
		t.Errorf("after a word: %+v", got)
	}
	_, _ = c.Write(make([]byte, maxSaid))
	for l.count() > 0 {
		runtime.Gosched()
	}
	c = connect(t, l)
	if err := c.Conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || strings.Count(string(got), "\n") != 1 {
		t.Errorf("who sends nothing more reads %q, %v, want one line", got, err)
	}
}

func TestASocketFileIsReplacedOnlyIfItsProcessIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "s")
	now := func() Status { return Status{} }
	first, err := openSocket(path, now) // makes the folder
	if err != nil {
		t.Fatal(err)
	}
	if s, err := openSocket(path, now); !errors.Is(err, disk.ErrLocked) {
		if err == nil {
			s.close()
		}
		t.Errorf("beside a living one: %v, want %v", err, disk.ErrLocked)
	}
	if err := first.listener.Close(); err != nil { // as a killed process leaves it
		t.Fatal(err)
	}
	second, err := openSocket(path, now)
	if err != nil {
		t.Fatalf("after a killed one: %v", err)
	}
	first.close() // the file is another's by now
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file of another was removed: %v", err)
	}
	second.close()
	second.close()
	second.serve(t.Context()) // returns at once
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

func TestWhatIsNoSocketIsNeverRemoved(t *testing.T) {
	dir := t.TempDir()
	file, folder, link := filepath.Join(dir, "file"), filepath.Join(dir, "folder"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(folder, 0o700), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, folder, link, filepath.Join(file, "s"), filepath.Join(dir, strings.Repeat("long", 40))} {
		s, err := openSocket(path, func() Status { return Status{} })
		if err == nil {
			s.close()
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names it", path, err)
		}
	}
	for _, path := range []string{file, folder, link} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("removed: %v", err)
		}
	}
}

func TestThePathOfASocketMayBeTooLong(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, tt := range []struct {
		n  int
		ok bool
	}{{107, true}, {108, false}, {200, false}} {
		path := strings.Repeat("s", tt.n)
		s, err := openSocket(path, func() Status { return Status{} })
		if err == nil {
			s.close()
		}
		want := fmt.Sprintf("the path has %d bytes, and a socket's has at most 107", tt.n)
		if tt.ok != (err == nil) || !tt.ok && !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v", tt.n, err)
		}
	}
	s, err := openSocket("@s", func() Status { return Status{} })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "@s")); err != nil {
		t.Errorf("@ is a letter like any other: %v", err)
	}
	s.close()
}

func TestLookSaysWhyThereIsNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Look(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, ErrNoAgent) {
		t.Errorf("no file: %v", err)
	}
	for _, tt := range []struct{ name, says, want string }{
		{"silent", "", "closed before it said anything"},
		{"cut", `{"kind":"status"`, "closed before it said anything"},
		{"other", "220 mail.example.com ESMTP\r\n", "expected a line of JSON"},
		{"kind", `{"kind":"step"}` + "\n", "expected a line of JSON of the kind status"},
		{"endless", strings.Repeat("x", maxLine+1), "token too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("unix", filepath.Join(dir, tt.name))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				if conn, err := l.Accept(); err == nil {
					_, _ = conn.Write([]byte(tt.says))
					_ = conn.Close()
				}
			}()
			_, err = Look(t.Context(), l.Addr().String())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("look: %v, want %q", err, tt.want)
			}
			_ = l.Close()
			<-done
			if _, err := Look(t.Context(), filepath.Join(dir, tt.name)); !errors.Is(err, ErrNoAgent) {
				t.Errorf("after its end: %v", err)
			}
		})
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	l := listen(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	err := Follow(ctx, l.path, func([]byte) error { cancel(why); return nil })
	if !errors.Is(err, why) {
		t.Errorf("follow: %v, want %v", err, why)
	}
}
