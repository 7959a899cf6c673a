package stages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// canary stands in the query of every address: no error or event may show it.
const canary = "canary-7f3a"

// faulty is a file server that can be made to misbehave. It counts the bytes of
// bodies that it sent, and keeps the head of each request.
type faulty struct {
	url  string
	sent atomic.Int64
	// serve answers request n, from 1.
	serve func(n int, w http.ResponseWriter, r *http.Request)

	forget bool // keep no requests

	mu       sync.Mutex
	n        int
	requests []*http.Request
}

func newFaulty(t testing.TB, serve func(f *faulty, n int, w http.ResponseWriter, r *http.Request)) *faulty {
	t.Helper()
	f := &faulty{}
	f.serve = func(n int, w http.ResponseWriter, r *http.Request) { serve(f, n, w, r) }
	f.listen(t, nil)
	return f
}

// listen starts the server on l, or on a port of its own.
func (f *faulty) listen(t testing.TB, l net.Listener) {
	t.Helper()
	s := httptest.NewUnstartedServer(f)
	if l != nil {
		s.Listener.Close()
		s.Listener = l
	}
	s.Start()
	t.Cleanup(s.Close)
	f.url = s.URL
}

// pipes is a network in memory, which makes a connection cheap.
type pipes struct {
	dialled chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newPipes() *pipes { return &pipes{dialled: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.dialled <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.dialled:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	if !f.forget {
		f.requests = append(f.requests, r.Clone(context.Background()))
	}
	f.n++
	n := f.n
	f.mu.Unlock()
	f.serve(n, w, r)
}

func (f *faulty) asked() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// ranges lists what the requests asked for, such as "all 5-".
func (f *faulty) ranges() string {
	var all []string
	for _, r := range f.asked() {
		text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
		if !ok {
			text = "all"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// send counts a part of a body and writes it; the answer's head goes first.
func (f *faulty) send(w http.ResponseWriter, p []byte) error {
	f.sent.Add(int64(len(p))) // before the other side can be done with it
	_, err := w.Write(p)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	return err
}

// cut breaks the connection off.
func cut() { panic(http.ErrAbortHandler) }

// file answers as a correct server does, and after most bytes it breaks off.
func (f *faulty) file(w http.ResponseWriter, r *http.Request, body []byte, etag string, most int) {
	h := w.Header()
	if etag != "" {
		h.Set("ETag", etag)
	}
	from, code := 0, http.StatusOK
	if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && (r.Header.Get("If-Range") == "" || r.Header.Get("If-Range") == etag) {
		from, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
		if from >= len(body) {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", len(body)))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		code = http.StatusPartialContent
	}
	h.Set("Content-Length", strconv.Itoa(len(body)-from))
	w.WriteHeader(code)
	rest := body[from:]
	if most < len(rest) {
		_ = f.send(w, rest[:most])
		cut()
	}
	_ = f.send(w, rest)
}

const whole = 1 << 62 // of file: never breaks off

// fill gives n bytes that do not repeat.
func fill(n int, seed uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		b[i] = byte(seed)
	}
	return b
}

func hexOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// meter counts what a client reads off its connections.
type meter struct {
	net.Conn
	n *atomic.Int64
}

func (m meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.n.Add(int64(n))
	return n, err
}

// leaks fails the test if the canary is in text.
func leaks(t testing.TB, text string) {
	t.Helper()
	if strings.Contains(text, canary) {
		t.Errorf("the query is shown: %s", text)
	}
}

// sink takes the bytes of step "in" into memory.
type sinkBuffer struct{ bytes []byte }

func (b *sinkBuffer) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(b.bytes) {
		b.bytes = append(b.bytes, make([]byte, need-len(b.bytes))...)
	}
	return copy(b.bytes[off:], p), nil
}

func (b *sinkBuffer) Sync() error { return nil }

func (b *sinkBuffer) equal(want []byte) bool { return bytes.Equal(b.bytes, want) }
