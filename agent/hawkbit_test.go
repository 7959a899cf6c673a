package agent_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
)

const (
	ddiToken = "0f8fad5bd9cb469fa16570867728950e"
	ddiBase  = "/shop/controller/v1/gw-1"
)

// ddi is a server that speaks as much of hawkBit's device interface as one
// device hears, and keeps what it was asked and told.
type ddi struct {
	t         *testing.T
	web       *httptest.Server
	elsewhere *httptest.Server // another host, which must not see the token

	halves atomic.Bool // one download was cut in its midst

	mu     sync.Mutex
	token  string
	action string // that is open, "" for none
	link   string // of its artifact
	mode   string // of its download and update
	asked  []string
	told   []string // execution and result of each feedback
}

func newDDI(t *testing.T) *ddi {
	d := &ddi{t: t, token: ddiToken}
	d.elsewhere = httptest.NewTLSServer(http.HandlerFunc(d.away))
	d.web = httptest.NewTLSServer(http.HandlerFunc(d.serve))
	t.Cleanup(d.web.Close)
	t.Cleanup(d.elsewhere.Close)
	return d
}

// artifact is what all deployments bring.
const artifact = "colour: green\n"

func (d *ddi) away(w http.ResponseWriter, r *http.Request) {
	d.note("elsewhere " + r.URL.Path + " " + r.Header.Get("Authorization"))
	_, _ = io.WriteString(w, artifact)
}

func (d *ddi) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, strings.TrimSpace(what))
}

func (d *ddi) serve(w http.ResponseWriter, r *http.Request) {
	d.note(r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization"))
	if strings.HasSuffix(r.URL.Path, "/halved") && d.halves.CompareAndSwap(false, true) {
		w.Header().Set("Content-Length", fmt.Sprint(len(artifact)))
		_, _ = io.WriteString(w, artifact[:7])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // the device has gone
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	own := strings.HasPrefix(r.URL.Path, ddiBase)
	if own && r.Header.Get("Authorization") != "TargetToken "+d.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch path := strings.TrimPrefix(r.URL.Path, ddiBase); {
	case path == "":
		links := ""
		if d.action != "" {
			links = fmt.Sprintf(`"deploymentBase": {"href": "https://%s%s/deploymentBase/%s?c=1"}`, r.Host, ddiBase, d.action)
		}
		_, _ = fmt.Fprintf(w, `{"config": {"polling": {"sleep": "00:00:20"}}, "_links": {%s}}`, links)
	case path == "/deploymentBase/"+d.action:
		sum := sha256.Sum256([]byte(artifact))
		_, _ = fmt.Fprintf(w, `{"id": %q, "deployment": {%s, "chunks": [{"part": "os", "version": "2.0", "name": "gateway",
			"artifacts": [{"filename": "app", "size": %d, "hashes": {"sha256": %q}, "_links": {"download": {"href": %q}}}]}]}}`,
			d.action, d.mode, len(artifact), hex.EncodeToString(sum[:]), d.link)
	case strings.HasSuffix(path, "/feedback"):
		var f struct {
			Status struct {
				Execution string
				Result    struct{ Finished string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			d.t.Errorf("feedback that is no JSON: %v", err)
		}
		d.told = append(d.told, f.Status.Execution+" "+f.Status.Result.Finished)
		if f.Status.Execution == "closed" || f.Status.Execution == "downloaded" && f.Status.Result.Finished == "success" {
			d.action = ""
		}
	case strings.HasSuffix(path, "/away"):
		http.Redirect(w, r, d.elsewhere.URL+"/moved", http.StatusFound)
	default:
		_, _ = io.WriteString(w, artifact)
	}
}

// deploy has the server ask for an update whose artifact is at a link.
func (d *ddi) deploy(action, link, mode string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.action, d.link, d.mode, d.told = action, link, mode, nil
}

const forced = `"download": "forced", "update": "forced"`

func (d *ddi) heard() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.told, ", ")
}

func (d *ddi) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

// hasty is a clock whose pauses are a two-hundredth of what they should be.
type hasty struct{}

func (hasty) Now() time.Time { return time.Now() }

func (hasty) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d / 200):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newPolling lays out a device whose plane is the server.
func newPolling(t *testing.T, d *ddi, plane, command string) *stand {
	t.Helper()
	s := &stand{t: t, dir: t.TempDir(), gates: &gates{entered: make(chan string, 100), open: make(chan struct{}, 100)}}
	for name, text := range map[string]string{
		"app.conf": "colour: red\n", "stash": "", "token": ddiToken + "\n",
		"ca.pem":      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.web.Certificate().Raw})),
		"device.yaml": "apiVersion: updraft/v1\nkind: Device\ntargets: {config: {file: app.conf}, stash: {file: stash}}\ntrust: {require: sha256}\n",
		"colour.yaml": `
apiVersion: updraft/v1
kind: Workflow
name: colour
inputs: {url: {type: string}, sha256: {type: string}, size: {type: int}}
steps:
  - {id: hold, gate: {}}
  - {id: new, fetch: {url: "${{ inputs.url }}", sha256: "${{ inputs.sha256 }}", size: "${{ inputs.size }}"}, needs: [hold]}
  - {id: write, install: {artifacts: {new: new}, targets: {out: {target: config}}}}
`,
		"stash.yaml": `
apiVersion: updraft/v1
kind: Workflow
name: stash
inputs: {url: {type: string}, sha256: {type: string}, size: {type: int}}
steps:
  - {id: new, fetch: {url: "${{ inputs.url }}", sha256: "${{ inputs.sha256 }}", size: "${{ inputs.size }}"}}
  - {id: write, install: {artifacts: {new: new}, targets: {out: {target: stash}}}}
`,
		"agent.yaml": fmt.Sprintf(`
apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes: {hawk: {dialect: hawkbit, url: %q, id: gw-1, settings: {tenant: shop}, secrets: {roots: {file: ca.pem}, %s}}}
commands: {hawk: {workflow: colour.yaml%s}}
`, d.web.URL, plane, command),
	} {
		write(s.dir, name, text)
	}
	return s
}

// polls runs the agent until the test or what it gives ends it. through carries
// what is no matter of the plane, if not nil.
func (s *stand) polls(through http.RoundTripper) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := agent.Serve(ctx, agent.ServeConfig{
			File: filepath.Join(s.dir, "agent.yaml"), Restart: device.RestartSimulate, Clock: hasty{}, HTTP: through,
			Verbs: map[string]engine.Verb{"gate": {New: func() any { return &gate{s.gates} }, Class: engine.Idempotent}},
			Log:   s.log,
			Events: func(e engine.Event) {
				text, err := json.Marshal(e)
				if err != nil {
					s.t.Error(err)
				}
				s.log(string(text))
			},
		})
		ended <- err
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			s.t.Errorf("serve ended with %v, want the cause of its context", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

const withToken = `targetToken: {file: token}`

// TestHawkbitUpdates: an update by hawkBit, artifact included, with the token of
// the device where it belongs and nowhere else.
func TestHawkbitUpdates(t *testing.T) {
	d := newDDI(t)
	for _, tt := range []struct {
		name, link string
		asked      string // of the artifact's server
	}{
		{"from the server, whom only the plane trusts", d.web.URL + ddiBase + "/softwaremodules/1/artifacts/app", "GET " + ddiBase + "/softwaremodules/1/artifacts/app TargetToken " + ddiToken},
		{"by a redirect to another host", d.web.URL + ddiBase + "/softwaremodules/1/artifacts/away", "elsewhere /moved"},
		{"from another host", d.elsewhere.URL + ddiBase + "/app", "elsewhere " + ddiBase + "/app"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newPolling(t, d, withToken, "")
			s.gates.open <- struct{}{}
			d.deploy("7", tt.link, forced)
			var through http.RoundTripper
			if strings.HasPrefix(tt.asked, "elsewhere") {
				through = d.elsewhere.Client().Transport
			}
			stop := s.polls(through)
			s.eventually("the end", func() bool { return strings.Contains(d.heard(), "closed") })
			if got := d.heard(); got != "proceeding none, closed success" {
				t.Errorf("the server heard %q", got)
			}
			if got := s.content("app.conf"); got != artifact {
				t.Errorf("app.conf holds %q", got)
			}
			all := d.requests()
			if !slices.Contains(all, tt.asked) {
				t.Errorf("asked %q, want %q", all, tt.asked)
			}
			for _, a := range all {
				if strings.HasPrefix(a, "elsewhere") && strings.Contains(a, ddiToken) {
					t.Errorf("the token went to another host: %s", a)
				}
			}
			stop()
			s.keptSecret(ddiToken)
		})
	}
}

// TestHawkbitOutsideItsBase: an address of the server that is not below the device's own gets no token.
func TestHawkbitOutsideItsBase(t *testing.T) {
	d := newDDI(t)
	s := newPolling(t, d, withToken, "")
	s.gates.open <- struct{}{}
	d.deploy("7", d.web.URL+"/shop/controller/v1/gw-2/app", forced)
	s.polls(d.web.Client().Transport)
	s.eventually("the end", func() bool { return strings.Contains(d.heard(), "closed") })
	if all := d.requests(); !slices.Contains(all, "GET /shop/controller/v1/gw-2/app") || d.heard() != "proceeding none, closed success" {
		t.Errorf("asked %q, told %q; want the artifact without the token", all, d.heard())
	}
}

// TestHawkbitGoesOnAfterAStop: the update goes on, and the server hears one end.
func TestHawkbitGoesOnAfterAStop(t *testing.T) {
	d := newDDI(t)
	s := newPolling(t, d, withToken, "")
	d.deploy("8", d.web.URL+ddiBase+"/softwaremodules/1/artifacts/app", forced)
	stop := s.polls(nil)
	first := s.entered()
	s.eventually("the beginning", func() bool { return d.heard() != "" })
	stop()
	s.polls(nil)
	if again := s.entered(); again != first {
		t.Errorf("after the stop run %s goes on, want %s", again, first)
	}
	s.eventually("the word that it goes on", func() bool { return strings.Contains(d.heard(), "resumed none") })
	s.gates.open <- struct{}{}
	s.eventually("the end", func() bool { return strings.Contains(d.heard(), "closed") })
	polls := len(d.requests())
	s.eventually("two more polls", func() bool { return len(d.requests()) > polls+1 })
	if got := d.heard(); got != "proceeding none, resumed none, closed success" {
		t.Errorf("the server heard %q", got)
	}
}

// TestHawkbitDownloadsAgain: a download that a stop of the agent has cut has the token when it goes on.
func TestHawkbitDownloadsAgain(t *testing.T) {
	d := newDDI(t)
	s := newPolling(t, d, withToken, "")
	d.deploy("8", d.web.URL+ddiBase+"/softwaremodules/1/artifacts/halved", forced)
	s.gates.open <- struct{}{}
	stop := s.polls(nil)
	s.eventually("half of the artifact", d.halves.Load)
	stop()
	if got := s.content("app.conf"); got != "colour: red\n" {
		t.Errorf("app.conf holds %q after half of the artifact", got)
	}
	s.polls(nil)
	s.eventually("the end", func() bool { return strings.Contains(d.heard(), "closed") })
	if got := d.heard(); !strings.HasSuffix(got, "closed success") || s.content("app.conf") != artifact {
		t.Errorf("the server heard %q, app.conf holds %q", got, s.content("app.conf"))
	}
	s.keptSecret(ddiToken)
}

// TestHawkbitRefusesTheToken: it is said once, the status shows it, and a token
// that is put right counts without a restart of the agent.
func TestHawkbitRefusesTheToken(t *testing.T) {
	d := newDDI(t)
	s := newPolling(t, d, withToken, "")
	write(s.dir, "token", "wr0ngt0ken")
	d.deploy("9", d.web.URL+ddiBase+"/softwaremodules/1/artifacts/app", forced)
	s.gates.open <- struct{}{}
	s.polls(nil)
	s.eventually("three polls", func() bool { return len(d.requests()) >= 3 })
	status, err := agent.Look(t.Context(), filepath.Join(s.dir, ".updraft", "agent.sock"))
	if p := status.Planes["hawk"]; err != nil || !p.Connected || p.Ready || !strings.Contains(p.Error, "refuses this device: 401") {
		t.Errorf("status %+v, %v; want that the server refuses the device", p, err)
	}
	const said = "the server refuses the device's token"
	if n := strings.Count(s.lines(), said); n != 1 {
		t.Errorf("said %d times that the token is refused, want 1:\n%s", n, s.lines())
	}
	write(s.dir, "token", ddiToken)
	s.eventually("the end", func() bool { return strings.Contains(d.heard(), "closed success") })
	s.keptSecret("wr0ngt0ken")
}

// TestHawkbitDownloads: what answers a download alone is offered only where the
// agent file has something that does it.
func TestHawkbitDownloads(t *testing.T) {
	const only = `"download": "forced", "update": "skip"`
	for _, tt := range []struct{ name, command, heard, stash string }{
		{"with a workflow for it", ", download: stash.yaml", "proceeding none, downloaded success", artifact},
		{"without one", "", "closed failure", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDDI(t)
			s := newPolling(t, d, withToken, tt.command)
			d.deploy("3", d.web.URL+ddiBase+"/softwaremodules/1/artifacts/app", only)
			s.polls(nil)
			s.eventually("the end", func() bool { return strings.HasSuffix(d.heard(), tt.heard) })
			if got := d.heard(); got != tt.heard {
				t.Errorf("the server heard %q, want %q", got, tt.heard)
			}
			if app, stash := s.content("app.conf"), s.content("stash"); app != "colour: red\n" || stash != tt.stash {
				t.Errorf("app.conf holds %q, stash %q, want %q", app, stash, tt.stash)
			}
		})
	}
}

// TestHawkbitWithACertificate: a server that knows its devices by their
// certificates sees it with the polls and with the download.
func TestHawkbitWithACertificate(t *testing.T) {
	d := newDDI(t)
	pair := d.web.TLS.Certificates[0] // any will do
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a device with a certificate alone has shown a token")
		}
		r.Header.Set("Authorization", "TargetToken "+ddiToken) // as a proxy that has looked at the certificate
		d.serve(w, r)
	}))
	front.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	front.StartTLS()
	t.Cleanup(front.Close)
	s := newPolling(t, d, `cert: {file: ca.pem}, key: {file: key.pem}`, "")
	write(s.dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	write(s.dir, "agent.yaml", strings.ReplaceAll(s.content("agent.yaml"), d.web.URL, front.URL))
	s.gates.open <- struct{}{}
	d.deploy("7", front.URL+ddiBase+"/softwaremodules/1/artifacts/app", forced)
	s.polls(nil)
	s.eventually("the end", func() bool { return strings.Contains(d.heard(), "closed") })
	if got := d.heard(); got != "proceeding none, closed success" {
		t.Errorf("the server heard %q", got)
	}
}

// keptSecret looks for a secret in the log and in all that the agent keeps.
func (s *stand) keptSecret(secret string) {
	s.t.Helper()
	if strings.Contains(s.lines(), secret) {
		s.t.Errorf("a secret is in the log:\n%s", s.lines())
	}
	looked := 0
	err := filepath.WalkDir(filepath.Join(s.dir, ".updraft"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) { // of a running agent, which replaces files
			return nil
		}
		looked++
		if strings.Contains(string(text), secret) {
			s.t.Errorf("a secret is in %s", name)
		}
		return err
	})
	if err != nil || looked == 0 {
		s.t.Errorf("looked into %d files: %v", looked, err)
	}
}
