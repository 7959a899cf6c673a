package hawkbit

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

const maxBody = 256 << 10 // bytes of a request

// request is one of a device that was let in.
type request struct {
	device string
	base   string // URL of the device's base document
	ids    []string
	body   []byte
	w      http.ResponseWriter
	http   *http.Request
}

// answer is what a request gets.
type answer struct {
	status int
	body   any // JSON, nil for none
	sent   bool
	// changed says that the target has to be written.
	changed bool
	// end and note are told to people.
	end  *cloudsim.End
	note string
}

// route is a resource: what stands for an id is "*".
type route struct {
	method, path string
	do           func(*Cloud, *request) answer
}

var routes = []route{
	{"GET", "", (*Cloud).base},
	{"PUT", "configData", (*Cloud).configData},
	{"GET", "deploymentBase/*", (*Cloud).deploymentBase},
	{"POST", "deploymentBase/*/feedback", (*Cloud).deploymentFeedback},
	{"GET", "cancelAction/*", (*Cloud).cancelAction},
	{"POST", "cancelAction/*/feedback", (*Cloud).cancelFeedback},
	{"GET", "confirmationBase", (*Cloud).confirmations},
	{"POST", "confirmationBase/activateAutoConfirm", (*Cloud).activate},
	{"POST", "confirmationBase/deactivateAutoConfirm", (*Cloud).deactivate},
	{"GET", "confirmationBase/*", (*Cloud).confirmationBase},
	{"POST", "confirmationBase/*/feedback", (*Cloud).confirmationFeedback},
	{"GET", "installedBase/*", (*Cloud).installedBase},
	{"GET", "softwaremodules/*/artifacts", (*Cloud).artifacts},
	{"GET", "softwaremodules/*/artifacts/*", (*Cloud).download},
}

// match gives what stands for the ids, if the path is of the route.
func (r route) match(parts []string) (ids []string, ok bool) {
	want := strings.Split(r.path, "/")
	if r.path == "" {
		want = nil
	}
	if len(want) != len(parts) {
		return nil, false
	}
	for i, w := range want {
		switch {
		case w == "*":
			ids = append(ids, parts[i])
		case w != parts[i]:
			return nil, false
		}
	}
	return ids, true
}

// ServeHTTP answers devices. It is called once the simulator is open.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts, ok := split(r.URL)
	if !ok || len(parts) < 4 || parts[1] != "controller" || parts[2] != "v1" {
		http.NotFound(w, r)
		return
	}
	tenant, device := parts[0], parts[3]
	err := c.admit(r, device)
	if tenant != c.tenant {
		err = fmt.Errorf("it asks for the tenant %.80q, and this is %q", tenant, c.tenant)
	}
	if err == nil && c.sim.Expired(device) {
		err = fmt.Errorf("fault %s", cloudsim.FaultToken)
	}
	if err != nil {
		c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventRefused, Client: bounded(device), Text: err.Error()})
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	q := &request{device: device, w: w, http: r}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	q.base = scheme + r.Host + "/" + url.PathEscape(tenant) + "/controller/v1/" + url.PathEscape(device)
	out := c.answer(q, parts[4:])
	c.finish(q, out)
}

// split takes a path apart.
func split(u *url.URL) (parts []string, ok bool) {
	for part := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), "/"), "/") {
		part, err := url.PathUnescape(part)
		if err != nil {
			return nil, false
		}
		parts = append(parts, part)
	}
	return parts, true
}

// answer finds the resource and what it answers.
func (c *Cloud) answer(q *request, parts []string) answer {
	method := q.http.Method
	if c.sim.Throttled(q.device) {
		c.sim.Trace(q.device, "up", q.topic(), nil)
		q.w.Header().Set("Retry-After", "1") // hawkBit counts by the second
		return answer{status: http.StatusTooManyRequests}
	}
	var err error
	q.body, err = io.ReadAll(http.MaxBytesReader(q.w, q.http.Body, maxBody))
	c.sim.Trace(q.device, "up", q.topic(), q.body)
	if err != nil {
		return unreadable(http.StatusRequestEntityTooLarge, fmt.Errorf("a body of more than %d bytes, or cut", maxBody))
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allow []string
	for _, r := range routes {
		ids, ok := r.match(parts)
		if !ok {
			continue
		}
		if r.method != method {
			allow = append(allow, r.method)
			continue
		}
		if out := q.negotiate(method, r.path); out != nil {
			return *out
		}
		q.ids = ids
		return r.do(c, q)
	}
	if len(allow) > 0 {
		q.w.Header().Set("Allow", strings.Join(allow, ", "))
		return answer{status: http.StatusMethodNotAllowed}
	}
	return answer{status: http.StatusNotFound}
}

// The media types that are understood, the one that is preferred first.
var mediaTypes = []string{"application/hal+json", "application/json"}

// negotiate refuses what speaks another language, and says in which one the
// answer will be.
func (q *request) negotiate(method, path string) *answer {
	if method != http.MethodGet {
		kind, _, err := mime.ParseMediaType(q.http.Header.Get("Content-Type"))
		if (err != nil || !slices.Contains(mediaTypes, kind)) && len(q.body) > 0 {
			return &answer{status: http.StatusUnsupportedMediaType}
		}
		return nil
	}
	if strings.HasPrefix(path, "softwaremodules/*/artifacts/") {
		return nil
	}
	accept := strings.Join(q.http.Header.Values("Accept"), ",")
	wanted := []string{"*/*"}
	if accept != "" {
		wanted = nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		if kind, _, err := mime.ParseMediaType(part); err == nil {
			wanted = append(wanted, kind)
		}
	}
	for _, kind := range mediaTypes {
		if slices.ContainsFunc(wanted, func(w string) bool { return w == kind || w == "*/*" || w == "application/*" }) {
			q.w.Header().Set("Content-Type", kind)
			return nil
		}
	}
	return &answer{status: http.StatusNotAcceptable}
}

func (q *request) topic() string { return q.http.Method + " " + q.http.URL.EscapedPath() }

// finish writes an answer, and tells and traces it.
func (c *Cloud) finish(q *request, out answer) {
	var body []byte
	if out.body != nil {
		body = marshal(out.body)
	}
	if q.http.Method == http.MethodGet && out.status == http.StatusOK && body != nil {
		sum := md5.Sum(body) // hawkBit's choice
		etag := `"0` + hex.EncodeToString(sum[:]) + `"`
		q.w.Header().Set("ETag", etag)
		if matches(q.http.Header.Values("If-None-Match"), etag) {
			out.status, body = http.StatusNotModified, nil
		}
	}
	c.sim.Trace(q.device, "down", fmt.Sprintf("%s %d", q.topic(), out.status), body)
	if out.sent {
		return
	}
	if body == nil {
		q.w.Header().Del("Content-Type")
	} else if q.w.Header().Get("Content-Type") == "" || out.status >= 400 {
		q.w.Header().Set("Content-Type", "application/json")
	}
	q.w.WriteHeader(out.status)
	_, _ = q.w.Write(body) // a device that is gone asks again
}

func matches(headers []string, etag string) bool {
	for entry := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		if entry = strings.TrimPrefix(strings.TrimSpace(entry), "W/"); entry == etag || entry == "*" {
			return true
		}
	}
	return false
}

func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a bug of ours: there is nothing in it that has no JSON
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

// refuse tells people why a body was not taken.
func (c *Cloud) refuse(q *request, err error) answer {
	c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventRefused, Client: q.device, Text: q.topic() + ": " + err.Error()})
	return unreadable(http.StatusBadRequest, err)
}

// id reads the number in the path.
func (q *request) id() (int64, error) {
	id, err := strconv.ParseInt(q.ids[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %.40q is no id", errBody, q.ids[0])
	}
	return id, nil
}
