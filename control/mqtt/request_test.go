package mqtt_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

func TestRequestsOfADialect(t *testing.T) {
	s := simulator(t, cloudsim.Config{})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "key=%q", r.Header.Get("X-Key"))
	}))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s key=%q", r.Method, r.Header.Get("X-Key"))
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/loop?sig="+canary, http.StatusFound)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	})
	mux.HandleFunc("/outside", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://example.com/?sig="+canary, http.StatusFound)
	})
	plain := httptest.NewServer(mux)
	defer plain.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()

	for _, tt := range []struct{ name, url, want string }{
		{"an answer", plain.URL + "/echo?sig=" + canary, `418 yes PUT key="k"`},
		{"too large", plain.URL + "/large", "more than 100 bytes"},
		{"redirects without end", plain.URL + "/loop", "more than 5 redirects"},
		{"a redirect to another host", plain.URL + "/away", `200  key=""`},
		{"a redirect off this machine in the clear", plain.URL + "/outside", "needs https"},
		{"a redirect from https to http", secure.URL + "/away", "redirect from https to http"},
		{"plain to elsewhere", "http://example.com/x?sig=" + canary, "needs https"},
		{"another scheme", "file:///etc/passwd", "needs https"},
		{"no url", "http://[", "does not parse"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, h := newEcho("gw-1"), &host{}
			answers := make(chan control.In, 1)
			d.also = func(in control.In, emit func(control.Out)) {
				switch in.Kind {
				case control.InConnected:
					emit(control.Out{Kind: control.OutRequest, Token: 7, Method: "PUT", URL: tt.url, Max: 100, Header: map[string]string{"X-Key": "k"}})
				case control.InResponse:
					answers <- in
				}
			}
			cfg := config(s.Endpoints().Broker)
			cfg.HTTP = secure.Client().Transport
			start(t, cfg, d, h)
			in := <-answers
			got := in.Err
			if in.Err == "" {
				got = fmt.Sprint(in.Status, " ", in.Header["X-Answer"], " ", string(in.Payload))
			}
			if in.Token != 7 || !strings.Contains(got, tt.want) || strings.Contains(got, canary) {
				t.Errorf("answer %d = %q, want %q and no secret", in.Token, got, tt.want)
			}
		})
	}
}

// Requests trust whom the broker's connection trusts.
func TestRequestsUseTheRoots(t *testing.T) {
	web := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer web.Close()
	ca := authority(t, "ca")
	broker := issue(t, ca, x509.Certificate{DNSNames: []string{"localhost"}})
	s := simulator(t, cloudsim.Config{TLS: broker.server()})
	both, _ := ca.pem(t)
	both += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	d, h := newEcho("gw-1"), &host{}
	answers := make(chan control.In, 1)
	d.also = func(in control.In, emit func(control.Out)) {
		switch in.Kind {
		case control.InConnected:
			emit(control.Out{Kind: control.OutRequest, Method: "GET", URL: web.URL})
		case control.InResponse:
			answers <- in
		}
	}
	cfg := config(strings.Replace(s.Endpoints().Broker, "127.0.0.1", "localhost", 1))
	cfg.Roots = secret(both)
	start(t, cfg, d, h)
	if in := <-answers; in.Status != http.StatusOK {
		t.Errorf("answer = %d %s, want 200", in.Status, in.Err)
	}
}

// answering is a network in which each host answers with what was asked of it.
type answering struct{}

func (answering) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.URL.Path == "/away" {
		http.Redirect(w, r, "http://cdn.example/moved", http.StatusFound)
	} else {
		fmt.Fprint(w, r.URL.Scheme, " ", r.URL.Path)
	}
	return w.Result(), nil
}

// TestPlainRequests: http is for those who allow it in their settings, and never after https.
func TestPlainRequests(t *testing.T) {
	s := simulator(t, cloudsim.Config{})
	for _, tt := range []struct {
		name, url string
		plain     bool
		want      string
	}{
		{"refused", "http://cdn.example/roots", false, "needs https"},
		{"allowed", "http://cdn.example/roots", true, "http /roots"},
		{"after a redirect", "http://cdn.example/away", true, "http /moved"},
		{"after https", "https://cdn.example/away", true, "redirect from https to http"},
		{"no other scheme", "ftp://cdn.example/roots", true, "needs https"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, h := newEcho("gw-1"), &host{}
			answers := make(chan control.In, 1)
			d.also = func(in control.In, emit func(control.Out)) {
				switch in.Kind {
				case control.InConnected:
					emit(control.Out{Kind: control.OutRequest, Method: "GET", URL: tt.url})
				case control.InResponse:
					answers <- in
				}
			}
			cfg := config(s.Endpoints().Broker)
			cfg.HTTP, cfg.PlainRequests = answering{}, tt.plain
			start(t, cfg, d, h)
			if in := <-answers; !strings.Contains(in.Err+string(in.Payload), tt.want) {
				t.Errorf("answer %q %q, want %q", in.Err, in.Payload, tt.want)
			}
		})
	}
}
