package wasmhost

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// servers are one that is granted and one that is not.
type servers struct {
	granted, other, plain *httptest.Server
	seen                  atomic.Int64 // requests to the other one
	hang                  chan struct{}
}

func serve(t *testing.T) *servers {
	t.Helper()
	s := &servers{hang: make(chan struct{})}
	s.other = httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.seen.Add(1) }))
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Method", r.Method)
		w.Header().Set("X-Said", r.Header.Get("X-Say"))
		w.Header().Set("X-Agent", r.UserAgent())
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s of %d bytes", body, len(body))
	})
	mux.HandleFunc("/out", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, s.other.URL+"/x", http.StatusFound) })
	mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://example.com/", http.StatusFound)
	})
	mux.HandleFunc("/in", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/echo?secret=1", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/circle", http.StatusFound) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-s.hang:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	s.granted, s.plain = httptest.NewTLSServer(mux), httptest.NewServer(mux)
	t.Cleanup(func() {
		close(s.hang)
		for _, one := range []*httptest.Server{s.granted, s.plain, s.other} {
			one.CloseClientConnections()
			one.Close()
		}
	})
	return s
}

func (s *servers) grants(b *bench) {
	b.grants.HTTP = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	b.grants.Clock = disk.Real()
	for _, one := range []*httptest.Server{s.granted, s.plain} {
		b.grants.Allowed = append(b.grants.Allowed, abi.HTTP+":"+abi.Capability(one.Listener.Addr().String()))
	}
}

func request(r abi.Request) string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestHTTP(t *testing.T) {
	web := serve(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := nobody.Addr().String()
	nobody.Close()
	b := newBench(nil, device.Slots)
	web.grants(b)
	b.grants.Allowed = append(b.grants.Allowed, abi.HTTP+":"+abi.Capability(closed))
	err = run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		for _, base := range []string{web.granted.URL, web.plain.URL} {
			h := s.must("http_do", request(abi.Request{Method: "POST", URL: base + "/in?token=1#x", Headers: map[string]string{"X-Say": "hello"}}), "a body")
			var got abi.Response
			if err := json.Unmarshal([]byte(s.text("http_answer", h)), &got); err != nil {
				t.Fatal(err)
			}
			if got.Status != http.StatusTeapot || got.Size != 17 || got.Headers["x-method"] != "POST" || got.Headers["x-said"] != "hello" || got.Headers["x-agent"] != "updraft" {
				t.Errorf("answer = %+v", got)
			}
			body := ""
			for {
				part := make([]byte, 7)
				n := s.must("http_read", h, part)
				if n == 0 {
					break
				}
				body += string(part[:n])
			}
			if body != "a body of 6 bytes" {
				t.Errorf("body = %q", body)
			}
			s.want(0, "http_close", h)
			if !trapped(func() { s.ask("http_read", h, make([]byte, 1)) }) {
				t.Error("a closed handle did not trap")
			}
		}
		for name, tt := range map[string]struct {
			ask  abi.Request
			want abi.Errno
		}{
			"another host":           {abi.Request{URL: web.other.URL}, abi.EDENIED},
			"another port":           {abi.Request{URL: "https://127.0.0.1/"}, abi.EDENIED},
			"plain to another host":  {abi.Request{URL: "http://example.com/"}, abi.EDENIED},
			"the name of the device": {abi.Request{URL: strings.Replace(web.plain.URL, "127.0.0.1", "localhost", 1)}, abi.EDENIED},
			"a longer name":          {abi.Request{URL: "https://" + web.granted.Listener.Addr().String() + ".example.com/"}, abi.EINVAL},
			"a file":                 {abi.Request{URL: "file:///etc/passwd"}, abi.EINVAL},
			"a user":                 {abi.Request{URL: strings.Replace(web.granted.URL, "//", "//u:p@", 1)}, abi.EINVAL},
			"no address":             {abi.Request{}, abi.EINVAL},
			"a redirect out":         {abi.Request{URL: web.granted.URL + "/out"}, abi.EDENIED},
			"a redirect down":        {abi.Request{URL: web.granted.URL + "/down"}, abi.EDENIED},
			"a circle":               {abi.Request{URL: web.granted.URL + "/circle"}, abi.ECONN},
			"nobody there":           {abi.Request{URL: "https://" + closed + "/?secret=1"}, abi.ECONN},
			"no answer":              {abi.Request{URL: web.granted.URL + "/hang?secret=1", Timeout: 50}, abi.ETIMEDOUT},
			"an odd method":          {abi.Request{URL: web.granted.URL + "/echo", Method: "CONNECT"}, abi.EINVAL},
			"a header of two lines":  {abi.Request{URL: web.granted.URL + "/echo", Headers: map[string]string{"X": "a\r\nHost: b"}}, abi.EINVAL},
			"a header's odd name":    {abi.Request{URL: web.granted.URL + "/echo", Headers: map[string]string{"X Y": "a"}}, abi.EINVAL},
			"the host's header":      {abi.Request{URL: web.granted.URL + "/echo", Headers: map[string]string{"hOst": "a"}}, abi.EINVAL},
			"a negative time":        {abi.Request{URL: web.granted.URL + "/echo", Timeout: -1}, abi.EINVAL},
		} {
			if got := s.ask("http_do", request(tt.ask), ""); got != int64(tt.want) {
				t.Errorf("%s: %d, want %v", name, got, tt.want)
			}
		}
		s.want(abi.EINVAL, "http_do", "no JSON", "")
		s.want(abi.EQUOTA, "http_do", strings.Repeat(" ", maxRequest+1), "")
		h := s.must("http_do", request(abi.Request{URL: web.granted.URL + "/cut"}), "")
		s.want(4, "http_read", h, make([]byte, 100))
		s.want(abi.ECONN, "http_read", h, make([]byte, 100))
		h = s.must("http_do", request(abi.Request{URL: web.granted.URL + "/drip", Timeout: 200}), "")
		s.want(5, "http_read", h, make([]byte, 100))
		s.want(abi.ETIMEDOUT, "http_read", h, make([]byte, 100))
	})
	if err != nil {
		t.Error(err)
	}
	if web.seen.Load() != 0 {
		t.Error("a host that is not granted was asked")
	}
	log := strings.Join(b.log, "\n")
	if strings.Contains(log, "secret") || !strings.Contains(log, closed) {
		t.Errorf("log = %q", log)
	}
}

func TestHTTPStaysWithinItsQuota(t *testing.T) {
	web := serve(t)
	b := newBench(nil, device.Slots)
	web.grants(b)
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		h, total := s.must("http_do", request(abi.Request{URL: web.granted.URL + "/endless"}), ""), int64(0)
		for buf := make([]byte, 100_000); ; {
			n := s.ask("http_read", h, buf)
			if n <= 0 {
				s.want(n, "http_read", h, buf)
				if n != int64(abi.EQUOTA) || total > abi.MaxHTTP || total < abi.MaxHTTP/2 {
					t.Errorf("%d bytes, then %d; want EQUOTA before %d", total, n, abi.MaxHTTP)
				}
				break
			}
			total += n
		}
		s.want(abi.EQUOTA, "http_do", request(abi.Request{URL: web.granted.URL + "/echo"}), "")
	})
	if err != nil {
		t.Error(err)
	}
	b = newBench(nil, device.Slots)
	web.grants(b)
	err = run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		h := s.must("http_do", request(abi.Request{URL: web.granted.URL + "/echo"}), "")
		s.want(abi.EQUOTA, "http_do", request(abi.Request{URL: web.granted.URL + "/echo", Method: "PUT"}), make([]byte, abi.MaxHTTP))
		s.want(abi.EQUOTA, "http_read", h, make([]byte, 10))
	})
	if err != nil {
		t.Error(err)
	}
}

// What is granted and declared, and in which phases, decides.
func TestEffectsThatAreNotGranted(t *testing.T) {
	web := serve(t)
	ask := request(abi.Request{URL: web.granted.URL + "/echo"})
	named := abi.Capability("http:" + web.granted.Listener.Addr().String())
	for _, tt := range []struct {
		name     string
		phase    abi.Phase
		granted  []abi.Capability
		declared []abi.Capability
		want     bool
	}{
		{"both by name", abi.Install, []abi.Capability{named}, []abi.Capability{named}, true},
		{"declared as a kind", abi.Install, []abi.Capability{named}, []abi.Capability{abi.HTTP}, true},
		{"in health", abi.Health, []abi.Capability{named}, []abi.Capability{abi.HTTP}, true},
		{"nothing granted", abi.Install, nil, []abi.Capability{abi.HTTP}, false},
		{"granted as a kind", abi.Install, []abi.Capability{abi.HTTP}, []abi.Capability{abi.HTTP}, false},
		{"another one granted", abi.Install, []abi.Capability{"http:example.com"}, []abi.Capability{abi.HTTP}, false},
		{"another one declared", abi.Install, []abi.Capability{named}, []abi.Capability{"http:example.com"}, false},
		{"in compat", abi.Compat, []abi.Capability{named}, []abi.Capability{abi.HTTP}, false},
		{"in prepare", abi.Prepare, []abi.Capability{named}, []abi.Capability{abi.HTTP}, false},
		{"in commit", abi.Commit, []abi.Capability{named}, []abi.Capability{abi.HTTP}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(nil, device.Slots)
			web.grants(b)
			b.grants.Allowed = tt.granted
			m := plain("")
			m.manifest.Capabilities = tt.declared
			err := run(t, tt.phase, m, &b.grants, func(s *script) {
				if got := s.ask("http_do", ask, ""); (got > 0) != tt.want || got < 0 && got != int64(abi.EDENIED) {
					t.Errorf("http_do = %d, want one that is granted: %v", got, tt.want)
				}
				if !tt.want {
					return
				}
				var info abi.Info
				if err := json.Unmarshal([]byte(s.text("phase_info")), &info); err != nil || len(info.Grants) != 1 || info.Grants[0] != named {
					t.Errorf("info = %+v, %v", info, err)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	b := newBench(nil, device.Slots)
	web.grants(b)
	b.grants.HTTP = nil
	if err := run(t, abi.Install, plain(""), &b.grants, func(s *script) { s.want(abi.EDENIED, "http_do", ask, "") }); err != nil {
		t.Error(err)
	}
}

// A handle of a response counts, and the end of the phase frees it.
func TestResponsesAreClosed(t *testing.T) {
	web := serve(t)
	b := newBench(nil, device.Slots)
	web.grants(b)
	var open []*response
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		for range abi.MaxHandles {
			h := s.must("http_do", request(abi.Request{URL: web.plain.URL + "/drip"}), "")
			open = append(open, s.c.handles.get(int32(h), kindResponse).(*response))
		}
		s.want(abi.EMFILE, "http_do", request(abi.Request{URL: web.plain.URL + "/drip"}), "")
		s.c.g.Cancelled = func() bool { return true }
		s.want(abi.ECANCELED, "http_do", request(abi.Request{URL: web.plain.URL + "/drip"}), "")
	})
	if err != nil {
		t.Error(err)
	}
	for _, r := range open {
		select {
		case <-r.ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("a response stayed open")
		}
	}
}
