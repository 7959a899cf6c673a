package stages

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

const (
	size = 100_000
	half = 40_000 // where the first connection breaks in most cases
)

// TestFaults breaks the first connection of most cases after half bytes. Each
// case ends complete, or with a clear code.
func TestFaults(t *testing.T) {
	body, other := fill(size, 1), fill(size, 2)
	// then serves the first request from body, broken off, and the rest by next.
	then := func(etag string, next func(f *faulty, w http.ResponseWriter, r *http.Request)) func(*faulty, int, http.ResponseWriter, *http.Request) {
		return func(f *faulty, n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				f.file(w, r, body, etag, half)
				return
			}
			if next == nil || r.Header.Get("Range") == "" {
				f.file(w, r, body, etag, whole)
				return
			}
			next(f, w, r)
		}
	}
	always := func(serve func(f *faulty, w http.ResponseWriter, r *http.Request)) func(*faulty, int, http.ResponseWriter, *http.Request) {
		return func(f *faulty, _ int, w http.ResponseWriter, r *http.Request) { serve(f, w, r) }
	}
	part := func(contentRange string) func(*faulty, http.ResponseWriter, *http.Request) {
		return func(f *faulty, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(http.StatusPartialContent)
			_ = f.send(w, body[half:])
		}
	}
	const twice = "all 40000- all"
	for _, tt := range []struct {
		name   string
		serve  func(f *faulty, n int, w http.ResponseWriter, r *http.Request)
		code   string
		ranges string // "": not compared
		most   int64  // bytes sent; 0: not compared
	}{
		{"cut, strong ETag", then(`"1"`, nil), "", "all 40000-", size},
		{"cut, no ETag: the digest decides", then("", nil), "", "all 40000-", size},
		{"cut, weak ETag: the digest decides", then(`W/"1"`, nil), "", "all 40000-", size},
		{"200 for 206", then(`"1"`, func(f *faulty, w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			f.file(w, r, body, `"1"`, whole)
		}), "", "all 40000-", half + size},
		{"200 for 206, no ETag", then("", func(f *faulty, w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			f.file(w, r, body, "", whole)
		}), "", "all 40000-", half + size},
		{"ETag changes half-way", func(f *faulty, n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				f.file(w, r, other, `"old"`, half)
			} else {
				f.file(w, r, body, `"new"`, whole)
			}
		}, "", twice, 0},
		{"ETag changes half-way, If-Range not understood", func(f *faulty, n int, w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Range")
			if n == 1 {
				f.file(w, r, other, `"old"`, half)
			} else {
				f.file(w, r, body, `"new"`, whole)
			}
		}, "", twice, 0},
		{"weak ETag, other bytes", func(f *faulty, n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				f.file(w, r, other, `W/"1"`, half)
			} else {
				f.file(w, r, body, `W/"1"`, whole)
			}
		}, "", twice, 2*size + half},
		{"strong ETag, other bytes", then(`"1"`, func(f *faulty, w http.ResponseWriter, r *http.Request) {
			f.file(w, r, other, `"1"`, whole)
		}), "digest", "all 40000-", size},
		{"Content-Range from another byte", then(`"1"`, part("bytes 0-59999/100000")), "", twice, 0},
		{"Content-Range one byte late", then(`"1"`, part("bytes 40001-99999/100000")), "", twice, 0},
		{"Content-Range of a larger file", then(`"1"`, part("bytes 40000-99999/100001")), "", twice, 0},
		{"Content-Range of a smaller file", then(`"1"`, part("bytes 40000-99999/99999")), "", twice, 0},
		{"Content-Range backwards", then(`"1"`, part("bytes 40000-39999/100000")), "", twice, 0},
		{"Content-Range negative", then(`"1"`, part("bytes -40000-99999/100000")), "", twice, 0},
		{"Content-Range overflows", then(`"1"`, part("bytes 40000-99999/9223372036854775808")), "", twice, 0},
		{"Content-Range in other units", then(`"1"`, part("lines 40000-99999/100000")), "", twice, 0},
		{"no Content-Range", then(`"1"`, part("")), "", twice, 0},
		{"Content-Range without a total", then(`"1"`, part("bytes 40000-99999/*")), "", "all 40000-", size},
		{"less than asked, then the rest", then(`"1"`, func(f *faulty, w http.ResponseWriter, r *http.Request) {
			var from int
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			to := min(from+30_000, size)
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
			w.WriteHeader(http.StatusPartialContent)
			_ = f.send(w, body[from:to])
		}), "", "all 40000- 70000-", size},
		{"multipart ranges", then(`"1"`, func(f *faulty, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
			w.Header().Set("Content-Range", "bytes 40000-99999/100000")
			w.WriteHeader(http.StatusPartialContent)
			_ = f.send(w, other[half:])
		}), "", twice, 0},
		{"416 for the rest", then(`"1"`, func(_ *faulty, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes */100")
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}), "", twice, 0},
		{"a part that nobody asked for", always(func(f *faulty, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-99999/100000")
			w.WriteHeader(http.StatusPartialContent)
			_ = f.send(w, body)
		}), "protocol", "all all all all", 0},
		{"other bytes", always(func(f *faulty, w http.ResponseWriter, r *http.Request) { f.file(w, r, other, `"1"`, whole) }), "digest", "all", size},
		{"shorter", always(func(f *faulty, w http.ResponseWriter, r *http.Request) { f.file(w, r, body[:half], `"1"`, whole) }), "size", "all all all all", 0},
		{"shorter, without a length", always(func(f *faulty, w http.ResponseWriter, _ *http.Request) { _ = f.send(w, body[:half]) }), "size", "", 0},
		{"longer", always(func(f *faulty, w http.ResponseWriter, r *http.Request) {
			f.file(w, r, append(body[:size:size], 0), `"1"`, whole)
		}), "size", "all all all all", 0},
		{"longer by one, without a length", always(func(f *faulty, w http.ResponseWriter, _ *http.Request) { _ = f.send(w, append(body[:size:size], 0)) }), "size", "all", size + 1},
		{"gzip", always(func(f *faulty, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			f.file(w, r, body, `"1"`, whole)
		}), "protocol", "all", 0},
		{"404", always(func(_ *faulty, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }), "http_404", "all", 0},
		{"403", always(func(_ *faulty, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }), "http_403", "all", 0},
		{"410 for the rest", then(`"1"`, func(_ *faulty, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }), "http_410", "all 40000-", 0},
		{"300", always(func(_ *faulty, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(300) }), "http_300", "all", 0},
		{"503 for ever", always(func(_ *faulty, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), "http_503", "all all all all", 0},
		{"a redirect to nowhere", always(func(_ *faulty, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }), "redirect", "all", 0},
		{"a redirect to a file", always(func(_ *faulty, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd?"+canary)
			w.WriteHeader(302)
		}), "redirect", "all", 0},
		{"a redirect that cannot be read", always(func(_ *faulty, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://x:y:z/%zz?"+canary)
			w.WriteHeader(302)
		}), "redirect", "all", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t, tt.serve)
			r := newRig(t)
			res := r.must(t, tt.code, body, r.fetch(f.url+"/x?"+canary, body))
			if tt.ranges != "" && f.ranges() != tt.ranges {
				t.Errorf("requests %q, want %q", f.ranges(), tt.ranges)
			}
			if sent := f.sent.Load(); tt.most > 0 && sent > tt.most {
				t.Errorf("%d bytes sent, want %d at most", sent, tt.most)
			}
			if tt.code != "" && res.Step != "f0" {
				t.Errorf("failed in step %q, want f0: %s", res.Step, res.Message)
			}
			for _, q := range f.asked() {
				if q.Header.Get("Accept-Encoding") != "identity" {
					t.Errorf("asked for the encoding %q", q.Header.Get("Accept-Encoding"))
				}
				if v := q.Header.Get("If-Range"); v != "" && strong(v) == "" {
					t.Errorf("asked with If-Range %s", v)
				}
			}
		})
	}
}

func TestEndlessBodyStopsAtItsSize(t *testing.T) {
	body := fill(size, 1)
	f := newFaulty(t, func(f *faulty, _ int, w http.ResponseWriter, r *http.Request) {
		for err := f.send(w, body); err == nil && r.Context().Err() == nil; {
			err = f.send(w, body)
		}
	})
	r := newRig(t)
	r.must(t, "size", nil, r.fetch(f.url+"/x", body))
	if n := r.read.Load(); n > size+64<<10 {
		t.Errorf("%d bytes were read, want at most %d", n, size+64<<10)
	}
	if n := len(f.asked()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// reading tells when the first Read of a body begins, and when it was closed.
type reading struct {
	http.RoundTripper
	began, closed       chan struct{}
	onBegin, onceClosed sync.Once
}

func (r *reading) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(q)
	if err == nil {
		resp.Body = readingBody{resp.Body, r}
	}
	return resp, err
}

type readingBody struct {
	io.ReadCloser
	r *reading
}

func (b readingBody) Read(p []byte) (int, error) {
	b.r.onBegin.Do(func() { close(b.r.began) })
	return b.ReadCloser.Read(p)
}

func (b readingBody) Close() error {
	b.r.onceClosed.Do(func() { close(b.r.closed) })
	return b.ReadCloser.Close()
}

// TestSlowBody sends bytes one by one, one a second, on a clock that the server moves.
func TestSlowBody(t *testing.T) {
	body := fill(size, 1)
	r := newRig(t)
	watch := &reading{RoundTripper: r.c.HTTP, began: make(chan struct{}), closed: make(chan struct{})}
	r.c.HTTP = watch
	var stopped time.Duration
	f := newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) {
		if n > 1 {
			f.file(w, q, body, `"1"`, whole)
			return
		}
		w.Header().Set("ETag", `"1"`)
		_ = f.send(w, body[:1])
		<-watch.began
		for i := 1; ; i++ {
			select {
			case <-watch.closed:
				return
			default:
			}
			if i < size {
				_ = f.send(w, body[i:i+1])
			}
			r.clock.Advance(time.Second)
			runtime.Gosched()
		}
	})
	r.tell = func(e engine.Event) {
		if e.Kind == engine.EventRetry {
			stopped = r.clock.Mono()
			if !strings.Contains(e.Text, "less than 30720 bytes in 30s") {
				t.Errorf("the retry says %q", e.Text)
			}
		}
	}
	r.must(t, "", body, r.fetch(f.url+"/x?"+canary, body))
	if stopped < 30*time.Second {
		t.Errorf("given up after %v, want 30s", stopped)
	}
	if got := f.ranges(); got == "all" || len(f.asked()) != 2 {
		t.Errorf("requests %q, want two, the second for the rest", got)
	}
}

// TestSlowSink lets the clock run while nobody reads: that is not the server's fault.
func TestSlowSink(t *testing.T) {
	body := fill(2<<20, 1)
	f := newFaulty(t, func(f *faulty, _ int, w http.ResponseWriter, q *http.Request) { f.file(w, q, body, `"1"`, whole) })
	r := newRig(t)
	r.tell = func(e engine.Event) {
		if e.Kind == engine.EventProgress && e.Done < int64(len(body)) {
			for range 300 { // many windows without a byte
				r.clock.Advance(31 * time.Second)
				runtime.Gosched()
			}
		}
	}
	r.must(t, "", body, r.fetch(f.url+"/x", body))
	if f.ranges() != "all" {
		t.Errorf("requests %q, want one", f.ranges())
	}
}

func TestNoAnswer(t *testing.T) {
	body := fill(size, 1)
	r := newRig(t)
	f := newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) {
		if n == 1 {
			r.clock.Advance(31 * time.Second)
			<-q.Context().Done()
			return
		}
		f.file(w, q, body, `"1"`, whole)
	})
	r.must(t, "", body, r.fetch(f.url+"/x", body))
	if f.ranges() != "all all" {
		t.Errorf("requests %q, want two", f.ranges())
	}
}

func TestRetryAfter(t *testing.T) {
	body := fill(size, 1)
	for _, tt := range []struct {
		name, header string
		code         int
		least, most  time.Duration
	}{
		{"seconds", "90", 429, 90 * time.Second, 91 * time.Second},
		{"a date", time.Unix(1_800_000_120, 0).UTC().Format(http.TimeFormat), 503, 119 * time.Second, 121 * time.Second},
		{"a date gone by", time.Unix(1_700_000_000, 0).UTC().Format(http.TimeFormat), 503, time.Second, 2 * time.Second},
		{"a year", "31536000", 429, time.Hour, time.Hour + time.Second},
		{"nonsense", "soon", 429, time.Second, 2 * time.Second},
		{"negative", "-5", 429, time.Second, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) {
				if n == 1 {
					w.Header().Set("Retry-After", tt.header)
					w.WriteHeader(tt.code)
					return
				}
				f.file(w, q, body, `"1"`, whole)
			})
			r := newRig(t)
			r.must(t, "", body, r.fetch(f.url+"/x", body))
			if took := r.clock.Mono(); took < tt.least || took > tt.most {
				t.Errorf("waited %v, want %v to %v", took, tt.least, tt.most)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	body := fill(size, 1)
	f := newFaulty(t, func(f *faulty, _ int, w http.ResponseWriter, q *http.Request) {
		var left int
		_, _ = fmt.Sscanf(q.URL.Path, "/%d", &left)
		if left == 0 {
			f.file(w, q, body, `"1"`, whole)
			return
		}
		w.Header().Set("Location", fmt.Sprintf("/%d?%s", left-1, canary))
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	r := newRig(t)
	r.must(t, "", body, r.fetch(strings.Replace(f.url, "//", "//user:"+canary+"@", 1)+"/5?"+canary, body))
	for i, q := range f.asked() {
		if _, password, _ := q.BasicAuth(); password != canary {
			t.Errorf("request %d has the password %q", i+1, password)
		}
	}
	if n := len(f.asked()); n != 6 {
		t.Errorf("%d requests, want 6", n)
	}
	r = newRig(t)
	r.must(t, "redirect", nil, r.fetch(f.url+"/6?"+canary, body))
	first := newFaulty(t, func(_ *faulty, _ int, w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Location", f.url+"/0")
		w.WriteHeader(http.StatusFound)
	})
	r = newRig(t)
	r.must(t, "", body, r.fetch(strings.Replace(first.url, "//", "//user:"+canary+"@", 1)+"/", body))
	for _, q := range f.asked()[12:] {
		if _, _, ok := q.BasicAuth(); ok {
			t.Error("the other host got the password")
		}
	}
	if n := len(f.asked()); n != 13 {
		t.Errorf("%d requests, want 13", n)
	}
}

func TestRedirectFromHTTPS(t *testing.T) {
	plain := newFaulty(t, func(_ *faulty, _ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", plain.url+"/?"+canary)
		w.WriteHeader(http.StatusMovedPermanently)
	}))
	t.Cleanup(secure.Close)
	r := newRig(t)
	r.c.HTTP = secure.Client().Transport
	r.must(t, "redirect", nil, r.fetch(secure.URL+"/x?"+canary, []byte("x")))
	if n := len(plain.asked()); n != 0 {
		t.Errorf("%d requests without TLS, want none", n)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	res := r.must(t, "network", nil, r.fetch("http://"+address+"/x?"+canary, []byte("x")))
	if !strings.Contains(res.Message, "refused") {
		t.Errorf("message %q, want the cause", res.Message)
	}
}

func TestCancelledWhileReading(t *testing.T) {
	body := fill(size, 1)
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := newFaulty(t, func(f *faulty, _ int, w http.ResponseWriter, q *http.Request) {
		_ = f.send(w, body[:half])
		cancel()
		<-q.Context().Done()
	})
	r.ctx = ctx
	if res, err := r.run(t, r.fetch(f.url+"/x", body)); err == nil {
		t.Errorf("run = %+v, want the error of its context", res)
	}
}

// TestCancelledRunOfASlowServer: whoever cancels a run need not wait for a server
// that has stopped in the middle.
func TestCancelledRunOfASlowServer(t *testing.T) {
	body := fill(size, 1)
	r := newRig(t)
	var passed atomic.Int64
	f := newFaulty(t, func(f *faulty, _ int, w http.ResponseWriter, q *http.Request) {
		_ = f.send(w, body[:half])
		if err := engine.Cancel(r.fs, "/state", r.id); err != nil {
			t.Error(err)
		}
		for q.Context().Err() == nil && time.Duration(passed.Load()) < time.Minute {
			passed.Add(int64(100 * time.Millisecond))
			r.clock.Advance(100 * time.Millisecond)
			time.Sleep(time.Millisecond) // the run's goroutine looks at that time
		}
	})
	res, err := r.run(t, r.fetch(f.url+"/x", body))
	if err != nil || res.State != engine.Cancelled || time.Duration(passed.Load()) > 5*time.Second {
		t.Errorf("run ended %s after %v, %v; want cancelled after about a second", res.State, time.Duration(passed.Load()), err)
	}
}

func TestWithoutDigest(t *testing.T) {
	body := fill(size, 1)
	for _, tt := range []struct{ name, etag, ranges string }{
		{"strong ETag", `"1"`, "all 40000-"},
		{"weak ETag", `W/"1"`, "all all"},
		{"no ETag", "", "all all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) {
				if n == 1 {
					f.file(w, q, body, tt.etag, half)
				}
				f.file(w, q, body, tt.etag, whole)
			})
			r := newRig(t)
			r.c.Trust = trust.Policy{Require: trust.None}
			r.must(t, "", body, func() engine.Filter { return &Fetch{c: &r.c, URL: f.url + "/x"} })
			if f.ranges() != tt.ranges {
				t.Errorf("requests %q, want %q", f.ranges(), tt.ranges)
			}
		})
	}
}

// TestCutEverywhere breaks a 64 KiB body off after every number of bytes:
// in each of 256 runs after first, first+256, first+512 and so on.
func TestCutEverywhere(t *testing.T) {
	const n, stride = 64 << 10, 256
	body := fill(n, 1)
	var next atomic.Int64
	f := newFaulty(t, func(f *faulty, _ int, w http.ResponseWriter, q *http.Request) {
		var from int
		_, _ = fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &from)
		to := int(next.Add(stride)) - stride
		f.file(w, q, body, `"1"`, to-from)
	})
	f.forget = true
	network := newPipes()
	f.listen(t, network)
	r := newRig(t)
	r.c.HTTP.(*http.Transport).DialContext = network.dial
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // many connections, little memory
	cuts := 0
	r.tell = func(e engine.Event) {
		if e.Kind == engine.EventRetry {
			cuts++
		}
	}
	step := 1
	if testing.Short() {
		step = 37
	}
	fetch := r.fetch(f.url+"/x", body)
	for first := 0; first < stride; first += step {
		next.Store(int64(first))
		f.sent.Store(0)
		cuts = 0
		r.reset(t)
		r.must(t, "", body, fetch)
		if sent := f.sent.Load(); sent != n || cuts != n/stride {
			t.Fatalf("cut from byte %d on: %d bytes were sent with %d cuts, want %d and %d", first, sent, cuts, n, n/stride)
		}
	}
}

// TestCutOnce breaks a body off once in each run.
func TestCutOnce(t *testing.T) {
	const n = 64 << 10
	body := fill(n, 1)
	var at atomic.Int64
	f := newFaulty(t, func(f *faulty, i int, w http.ResponseWriter, q *http.Request) {
		most := whole
		if i%2 == 1 {
			most = int(at.Load())
		}
		f.file(w, q, body, `"1"`, most)
	})
	r := newRig(t)
	for cut := 0; cut < n; cut += 1021 {
		at.Store(int64(cut))
		f.sent.Store(0)
		r.reset(t)
		r.must(t, "", body, r.fetch(f.url+"/x", body))
		if sent := f.sent.Load(); sent != n {
			t.Fatalf("cut after %d bytes: %d were sent, want %d", cut, sent, n)
		}
	}
}

// TestCutAtRandom breaks a large body off 200 times.
func TestCutAtRandom(t *testing.T) {
	const n, cuts = 10_000_000, 200
	body := fill(n, 1)
	random := rand.New(rand.NewPCG(1, 2))
	f := newFaulty(t, func(f *faulty, i int, w http.ResponseWriter, q *http.Request) {
		most := whole
		if i <= cuts {
			most = random.IntN(n / cuts)
		}
		f.file(w, q, body, `"1"`, most)
	})
	r := newRig(t)
	r.must(t, "", body, r.fetch(f.url+"/x?"+canary, body))
	if sent := f.sent.Load(); sent != n || len(f.asked()) != cuts+1 {
		t.Errorf("%d bytes were sent in %d requests, want %d in %d", sent, len(f.asked()), n, cuts+1)
	}
}
