package hawkbit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hawkbit"
)

func TestMain(m *testing.M) {
	// net/http lets a client read the answer before it cuts a body that is too long
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const content = "the new version of everything"

// Digests of content, by md5sum, sha1sum and sha256sum.
const (
	contentMD5    = "c667d1d5191ab68f386de263f905b0ce"
	contentSHA1   = "e65cc4038a3562c3b4fec09a6190c5a7bbadabcf"
	contentSHA256 = "282d24430fea4058a17202bae5d9d3572e5bd3ee94b92f482c3fa4d65c2aa350"
)

// rig is a simulator with the devices gw-1, gw-2 and lock-1 (which has a certificate).
type rig struct {
	*cloudsim.Sim
	t      *testing.T
	events *events
}

type events struct {
	mu  sync.Mutex
	all []cloudsim.Event
}

func (e *events) add(v cloudsim.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, v)
}

// text is all that people were told of a kind.
func (e *events) text(kind cloudsim.EventKind) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var lines []string
	for _, v := range e.all {
		if v.Kind == kind {
			lines = append(lines, v.Client+": "+v.Text)
		}
	}
	return strings.Join(lines, "\n")
}

var accounts = cloudsim.Accounts{Devices: map[string]string{"gw-1": "s3cr3t-1", "gw-2": "s3cr3t-2", "lock-1": ""}}

// newRig starts a simulator that ends with the test.
func newRig(t *testing.T, cfg cloudsim.Config) *rig {
	t.Helper()
	r := startRig(t, cfg)
	t.Cleanup(func() { r.close() })
	return r
}

func startRig(t *testing.T, cfg cloudsim.Config) *rig {
	t.Helper()
	cloud, err := hawkbit.New(hawkbit.Config{Accounts: accounts, GatewayToken: "s3cr3t-gateway", Poll: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Files == "" {
		cfg.Files = t.TempDir()
		write(t, filepath.Join(cfg.Files, "gateway.img"), content)
	}
	seen := &events{}
	cfg.Events = seen.add
	sim, err := cloudsim.Start(cfg, cloud)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{sim, t, seen}
}

func (r *rig) close() {
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reply is what a device hears.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) String() string { return strings.TrimSpace(fmt.Sprint(r.status, " ", r.body)) }

// do makes a request of a device, headers as "Name: value". A path that begins
// with http is taken as it is.
func (r *rig) do(device, method, path, body string, headers ...string) reply {
	r.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = r.base(device) + path
	}
	req, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "TargetToken "+accounts.Devices[device])
	if body != "" {
		req.Header.Set("Content-Type", "application/json;charset=UTF-8")
	}
	for _, h := range headers {
		if name, value, found := strings.Cut(h, ": "); found {
			req.Header.Set(name, value)
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		r.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(data)}
}

func (r *rig) base(device string) string {
	return r.Endpoints().Face + "/DEFAULT/controller/v1/" + device
}

// get gives the answer of a GET, with the address of the device as BASE.
func (r *rig) get(path string) reply {
	r.t.Helper()
	got := r.do("gw-1", "GET", path, "")
	got.body = strings.ReplaceAll(got.body, r.base("gw-1"), "BASE")
	return got
}

func decodeBody(t *testing.T, r reply, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), to); err != nil || r.status != 200 {
		t.Fatalf("answer = %s, %v", r, err)
	}
}

// links are those of the base document.
func (r *rig) links(device string) map[string]string {
	r.t.Helper()
	var doc struct {
		Links map[string]struct{ Href string } `json:"_links"`
	}
	decodeBody(r.t, r.do(device, "GET", "", ""), &doc)
	out := map[string]string{}
	for name, l := range doc.Links {
		out[name] = l.Href
	}
	return out
}

// says posts feedback in the short form "closed/success text".
func (r *rig) says(path, short string) reply {
	r.t.Helper()
	words, text, _ := strings.Cut(short, " ")
	execution, finished, _ := strings.Cut(words, "/")
	if finished == "" {
		finished = "none"
	}
	return r.do("gw-1", "POST", path+"/feedback", fmt.Sprintf(`{"id":"1","status":{"execution":%q,"result":{"finished":%q},"details":[%q]}}`, execution, finished, text))
}

// order gives an order for gw-1.
func (r *rig) order(o cloudsim.Order) cloudsim.Done {
	r.t.Helper()
	done, err := r.tryOrder(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func (r *rig) tryOrder(o cloudsim.Order) (cloudsim.Done, error) {
	o.Device = "gw-1"
	done, err := r.Order(context.Background(), o)
	if err != nil {
		return cloudsim.Done{}, err
	}
	return done[0], nil
}

// push pushes gateway.img as version 2.0, with pairs of Set.
func (r *rig) push(set map[string]any) cloudsim.Done {
	r.t.Helper()
	return r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{File: "gateway.img", Version: "2.0"}, Set: set})
}

// ends are the ends of gw-1 as "job result outcome xN".
func (r *rig) ends() string {
	record, _ := r.Book().Look("gw-1")
	var out []string
	for _, e := range record.Ends {
		out = append(out, fmt.Sprintf("%s %s %s x%d", e.Job, e.Result, e.Outcome, e.Arrivals))
	}
	return strings.Join(out, ", ")
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s = %v\nwant %v", what, got, want)
	}
}
