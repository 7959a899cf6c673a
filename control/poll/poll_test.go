package poll_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/poll"
	"github.com/updraft-ota/updraft/engine"
)

func TestBadConfigIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    poll.Config
	}{
		{"negative limit", poll.Config{RequestTimeout: -1}},
		{"two ways to connect", poll.Config{HTTP: http.DefaultTransport, TLS: trusting(nil)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := poll.New(tt.c, newScript(nil), newHost()); !errors.Is(err, poll.ErrConfig) {
				t.Errorf("error = %v, want ErrConfig", err)
			}
		})
	}
}

// asks makes one request when it is connected.
func asks(out control.Out) *script {
	out.Kind, out.Token = control.OutRequest, 7
	return newScript(func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InConnected {
			emit(out)
		}
	})
}

func TestRequest(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL, r.Header.Get("Accept"), r.Header.Get("Authorization"), body)
	}))
	t.Cleanup(s.Close)
	d := asks(control.Out{Method: "POST", URL: s.URL + "/a?b=c", Header: map[string]string{"Accept": "text/plain"}, Payload: []byte("hello")})
	authorize := func(address string) (string, error) { return "Token for " + strings.TrimPrefix(address, s.URL), nil }
	l := run(t, poll.Config{Authorize: authorize}, d, newHost())
	in := d.next(t, control.InResponse)
	if want := "POST /a?b=c text/plain Token for /a?b=c hello"; in.Token != 7 || in.Status != 418 || string(in.Payload) != want || in.Header["Retry-After"] != "3" || in.Err != "" {
		t.Errorf("answer = %+v %s, want 418 with %s", in, in.Payload, want)
	}
	if st := l.Status(); !st.Connected || st.Err != nil || st.Attempts != 0 || st.Since.IsZero() {
		t.Errorf("status = %+v, want connected", st)
	}
}

// TestNoAnswer makes requests that have none, each with a secret that must not be shown.
func TestNoAnswer(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			w.Write(make([]byte, 2000))
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		case "/silent":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/cut":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("x"))
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	for _, tt := range []struct {
		name, url string
		max       int64
		want      string
	}{
		{"too large", s.URL + "/large?s3cr3t", 1999, "more than 1999 bytes"},
		{"endless", s.URL + "/endless?s3cr3t", 0, "more than 4194304 bytes"},
		{"silent", s.URL + "/silent?s3cr3t", 0, "deadline exceeded"},
		{"cut", s.URL + "/cut?s3cr3t", 0, "unexpected EOF"},
		{"network in the clear", "http://files.example/?s3cr3t", 0, "needs https"},
		{"other scheme", "ftp://files.example/?s3cr3t", 0, "needs https"},
		{"password", "https://me:s3cr3t@files.example/", 0, "do not belong"},
		{"no URL", "https://h:s3cr3t/", 0, "an address that does not parse"},
		{"no token", s.URL + "/unauthorized?s3cr3t", 0, "no token file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := asks(control.Out{Method: "GET", URL: tt.url, Max: tt.max})
			limit := 5 * time.Second
			if tt.name == "silent" {
				limit = 50 * time.Millisecond
			}
			authorize := func(address string) (string, error) {
				if tt.name == "no token" {
					return "", errors.New("no token file")
				}
				return "", nil
			}
			l := run(t, poll.Config{RequestTimeout: limit, Authorize: authorize}, d, newHost())
			in := d.next(t, control.InResponse)
			if in.Token != 7 || in.Status != 0 || in.Payload != nil || !strings.Contains(in.Err, tt.want) || strings.Contains(in.Err, "s3cr3t") {
				t.Errorf("answer = %d, %q, want none with %q and without the secret", in.Status, in.Err, tt.want)
			}
			if st := l.Status(); st.Connected || st.Err == nil || st.Attempts != 1 {
				t.Errorf("status = %+v, want an error", st)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	asked := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Authorization") }))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.RedirectHandler(other.URL+"/?s3cr3t", http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	d := asks(control.Out{Method: "GET", URL: s.URL})
	run(t, poll.Config{Authorize: func(string) (string, error) { return "Token s3cr3t", nil }}, d, newHost())
	if in := d.next(t, control.InResponse); in.Status != 307 || len(asked) != 0 {
		t.Errorf("answer %d after %d requests elsewhere, want 307 and none", in.Status, len(asked))
	}
}

// trusting gives what trusts roots.
func trusting(roots *x509.CertPool) func(string) (*tls.Config, error) {
	return func(string) (*tls.Config, error) { return &tls.Config{RootCAs: roots}, nil }
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	d := asks(control.Out{Method: "GET", URL: s.URL})
	run(t, poll.Config{TLS: trusting(roots)}, d, newHost())
	if in := d.next(t, control.InResponse); in.Status != 200 {
		t.Errorf("answer = %d %s, want 200", in.Status, in.Err)
	}
	d = asks(control.Out{Method: "GET", URL: s.URL})
	run(t, poll.Config{TLS: trusting(x509.NewCertPool())}, d, newHost())
	if in := d.next(t, control.InResponse); !strings.Contains(in.Err, "certificate") {
		t.Errorf("answer = %d %q of a server that nobody vouches for, want an error", in.Status, in.Err)
	}
}

// TestRefusal: a server that answers is there, but a device that it does not let in is not ready.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
		ready  bool
	}{
		{"GET", 200, true}, {"GET", 404, true}, {"POST", 403, true}, // of feedback it has had enough
		{"GET", 401, false}, {"POST", 401, false}, {"GET", 403, false},
	} {
		t.Run(fmt.Sprint(tt.method, " ", tt.status), func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.status) }))
			t.Cleanup(s.Close)
			d := asks(control.Out{Method: tt.method, URL: s.URL + "/d?s3cr3t"})
			l := run(t, poll.Config{}, d, newHost())
			d.next(t, control.InResponse)
			st := l.Status()
			if !st.Connected || st.Ready != tt.ready || (st.Err == nil) != tt.ready || strings.Contains(fmt.Sprint(st.Err), "s3cr3t") {
				t.Errorf("status = %+v, want ready: %t", st, tt.ready)
			}
		})
	}
}

// TestTLSIsReadAnew: what is trusted and shown is asked for each connection; if it cannot be read, there is none.
func TestTLSIsReadAnew(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	times := 0 // connections are made one after the other here
	settings := func(host string) (*tls.Config, error) {
		if times++; times == 1 {
			return nil, errors.New("no roots file for " + host)
		}
		return &tls.Config{RootCAs: roots}, nil
	}
	get := control.Out{Kind: control.OutRequest, Method: "GET", URL: s.URL, Token: 7}
	d := newScript(func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InConnected || in.Kind == control.InResponse && in.Status == 0 {
			emit(get)
		}
	})
	run(t, poll.Config{TLS: settings}, d, newHost())
	if in := d.next(t, control.InResponse); !strings.Contains(in.Err, "no roots file for 127.0.0.1") {
		t.Errorf("answer %d %q, want none for want of roots", in.Status, in.Err)
	}
	if in := d.next(t, control.InResponse); in.Status != 200 {
		t.Errorf("answer %d %q, want 200", in.Status, in.Err)
	}
}

func TestTooManyRequests(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(s.Close)
	d := newScript(func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InConnected {
			for n := range uint64(6) {
				emit(control.Out{Kind: control.OutRequest, Method: "GET", URL: s.URL, Token: n + 1})
			}
		}
	})
	run(t, poll.Config{}, d, newHost())
	for range 2 {
		if in := d.next(t, control.InResponse); !strings.Contains(in.Err, "4 requests are under way") {
			t.Errorf("answer = %+v, want a refusal", in)
		}
	}
	close(release)
	for range 4 {
		if in := d.next(t, control.InResponse); in.Status != 200 {
			t.Errorf("answer = %+v, want 200", in)
		}
	}
}

func TestTimers(t *testing.T) {
	c := newClock()
	d := newScript(func(in control.In, emit func(control.Out)) {
		timer := func(token uint64, after time.Duration) {
			emit(control.Out{Kind: control.OutTimer, Token: token, After: after})
		}
		switch {
		case in.Kind == control.InConnected:
			timer(1, 100*time.Second)
			timer(2, time.Second)
		case in.Kind == control.InTick && in.Token == 2:
			timer(1, 200*time.Second) // instead of the first
		}
	})
	run(t, poll.Config{Clock: c, Spread: 4 * time.Second, Rand: func() float64 { return 0.5 }}, d, newHost())
	slept := map[time.Duration]sleep{}
	take := func(n int) {
		for range n {
			s := <-c.sleeps
			slept[s.d] = s
		}
	}
	take(1)
	if _, ok := slept[2*time.Second]; !ok {
		t.Fatalf("begins after %v, want half of the spread", slept)
	}
	close(slept[2*time.Second].end)
	d.next(t, control.InConnected)
	take(2)
	close(slept[time.Second].end) // short ones are kept to
	if in := d.next(t, control.InTick); in.Token != 2 {
		t.Errorf("tick of %d, want 2", in.Token)
	}
	take(1)
	first, second := slept[102500*time.Millisecond], slept[205*time.Second] // long ones grow by half of a twentieth
	if first.end == nil || second.end == nil {
		t.Fatalf("sleeps = %v, want 102.5s and 205s too", slept)
	}
	close(first.end)
	close(second.end)
	if in := d.next(t, control.InTick); in.Token != 1 {
		t.Errorf("tick of %d, want 1", in.Token)
	}
	if len(d.came) != 0 {
		t.Errorf("%d more inputs, want none: the first timer was replaced", len(d.came))
	}
}

func TestCommands(t *testing.T) {
	h := newHost()
	d := newScript(func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InConnected {
			emit(control.Out{Kind: control.OutCommand, Token: 3, Command: control.Command{ID: "12"}})
			emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: "12"}})
			emit(control.Out{Kind: control.OutSubscribe, Topic: "a"})
			emit(control.Out{Kind: control.OutLog, Text: "hello"})
		}
	})
	run(t, poll.Config{}, d, h)
	h.wait(t, "cancel 12")
	if in := d.next(t, control.InReceipt); in.Token != 3 || in.Refusal != "" {
		t.Errorf("receipt = %+v, want the first answer to 3", in)
	}
	if want := []string{"command 12", "cancel 12"}; !slices.Equal(h.all(), want) || !h.logged("hello") || !h.logged("subscribe needs a broker") {
		t.Errorf("calls = %q, logs %q, want %q", h.all(), h.logs, want)
	}
}

func TestTooManyCommands(t *testing.T) {
	h, answers := newHost(), make(chan func(control.In), 100)
	h.hold = func(answer func(control.In)) { answers <- answer }
	d := newScript(func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InConnected {
			for n := range uint64(17) {
				emit(control.Out{Kind: control.OutCommand, Token: n + 1, Command: control.Command{ID: fmt.Sprint(n)}})
			}
		}
	})
	run(t, poll.Config{}, d, h)
	if in := d.next(t, control.InReceipt); in.Refusal != "busy" || in.Token != 17 {
		t.Errorf("receipt = %+v, want busy for the last", in)
	}
	for range 16 {
		go (<-answers)(control.In{Receipt: engine.Receipt{Answer: engine.Accepted}})
		if in := d.next(t, control.InReceipt); in.Receipt.Answer != engine.Accepted {
			t.Errorf("receipt = %+v, want accepted", in)
		}
	}
}

func report(id string) control.In {
	return control.In{Kind: control.InReport, Report: engine.Report{ID: id}}
}

func TestReports(t *testing.T) {
	h := newHost()
	d := newScript(nil)
	d.do = func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InReport {
			d.state += in.Report.ID
			emit(control.Out{Kind: control.OutDelivered, Report: in.Report.ID})
		}
	}
	c := newClock()
	l := run(t, poll.Config{Clock: c, Spread: time.Second, Rand: func() float64 { return 0.5 }}, d, h)
	l.Post(report("a"))
	l.Post(report("b"))
	l.Post(report("a"))
	l.Post(control.In{Kind: control.InTick})
	l.Post(control.In{Kind: control.InEvent, Event: engine.Event{Run: "run-1"}})
	d.next(t, control.InEvent) // events go at once, reports once there is a connection
	if st := l.Status(); len(h.all()) != 0 {
		t.Errorf("calls = %q, status %+v before it began, want none", h.all(), st)
	}
	close((<-c.sleeps).end)
	h.wait(t, "delivered b")
	l.Post(report("c"))
	h.wait(t, "delivered c")
	if got, want := h.all(), "save a delivered a save ab delivered b save abc delivered c"; !sameOrder(got, want) {
		t.Errorf("calls = %q, want each report once and saved before it counts: %s", got, want)
	}
	if !h.logged(`not taken: an input of kind "tick"`) {
		t.Errorf("logs = %q, want a word about the tick", h.logs)
	}
}

// sameOrder compares the saves and the deliveries each by themselves, and that
// the n-th save comes before the n-th delivery: they are two goroutines.
func sameOrder(calls []string, want string) bool {
	var saves, told, both []string
	for _, c := range calls {
		if strings.HasPrefix(c, "save") {
			saves = append(saves, c)
		} else if told = append(told, c); len(told) > len(saves) {
			return false
		}
	}
	for n := range min(len(saves), len(told)) {
		both = append(both, saves[n], told[n])
	}
	return strings.Join(both, " ") == want && len(saves) == len(told)
}

func TestWithoutSaveNothingIsDelivered(t *testing.T) {
	h := newHost()
	h.saveErr = errors.New("disk full")
	d := newScript(nil)
	d.do = func(in control.In, emit func(control.Out)) {
		if in.Kind == control.InReport {
			d.state += "x"
			emit(control.Out{Kind: control.OutDelivered, Report: in.Report.ID})
		}
	}
	l := run(t, poll.Config{}, d, h)
	d.next(t, control.InConnected)
	l.Post(report("a"))
	d.next(t, control.InReport)
	l.Post(report("a"))
	d.next(t, control.InReport)
	h.mu.Lock()
	h.saveErr = nil
	h.mu.Unlock()
	l.Post(report("a"))
	h.wait(t, "delivered a")
	if want := []string{"save xxx", "delivered a"}; !slices.Equal(h.all(), want) || !h.logged("keep the state of the dialect: disk full") {
		t.Errorf("calls = %q, logs %q, want %q", h.all(), h.logs, want)
	}
}

func TestLargeStateIsNotSaved(t *testing.T) {
	h := newHost()
	d := newScript(nil)
	d.do = func(control.In, func(control.Out)) { d.state = strings.Repeat("x", control.MaxSave+1) }
	l := run(t, poll.Config{}, d, h)
	d.next(t, control.InConnected)
	l.Post(control.In{Kind: control.InEvent})
	d.next(t, control.InEvent) // so what the first step left was looked at
	if len(h.all()) != 0 || !h.logged("65537 bytes, at most 65536 are kept") {
		t.Errorf("calls = %q, logs %q, want none and a word about the size", h.all(), h.logs)
	}
}
