package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// maxBody bounds a request, in bytes.
const maxBody = 256 << 10

// failure is an answer of the service side that is none of success.
type failure struct {
	status int
	code   int    // the hub's own number
	name   string // of the code
	text   string
	method bool // of a call that reached no answer, which has another form
}

func (f *failure) Error() string { return f.name + ": " + f.text }

func failing(status, code int, name, format string, args ...any) error {
	return &failure{status: status, code: code, name: name, text: fmt.Sprintf(format, args...)}
}

// body is what the hub writes. Its SDKs find the name between a colon and a
// semicolon; of a method call the message is JSON in a text.
func (f *failure) body(now time.Time) []byte {
	message := "ErrorCode:" + f.name + ";" + f.text
	if f.method {
		message = string(marshal(map[string]any{"errorCode": f.code, "message": f.text, "timestampUtc": now.UTC()}))
	}
	return marshal(map[string]any{"Message": message, "ExceptionMessage": ""})
}

// ServeHTTP is the service side, and what device update serves to devices.
func (h *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if page, ok := strings.CutPrefix(r.URL.Path, "/adu/"); ok && h.c.Update {
		h.servePage(w, r, page)
		return
	}
	answer, err := h.serve(r)
	var f *failure
	switch {
	case errors.As(err, &f):
	case err != nil:
		f = &failure{status: http.StatusInternalServerError, code: 500001, name: "ServerError", text: err.Error()}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if f == nil {
		if t, ok := answer["etag"].(string); ok {
			w.Header().Set("ETag", `"`+t+`"`)
		}
		_, _ = w.Write(marshal(answer)) // a caller that is gone needs no answer
		return
	}
	w.Header().Set("iothub-errorcode", f.name)
	w.WriteHeader(f.status)
	_, _ = w.Write(f.body(h.sim.Now()))
}

// servePage answers with a manifest or the root key package.
func (h *Cloud) servePage(w http.ResponseWriter, r *http.Request, page string) {
	h.mu.Lock()
	content, ok := h.pages[page]
	h.mu.Unlock()
	if page == rootKeysPage {
		content, ok = string(h.roots), true
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
}

func (h *Cloud) serve(r *http.Request) (map[string]any, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/twins/")
	if !ok {
		return nil, failing(404, 404000, "NotFound", "there is /twins/{id} and /twins/{id}/methods")
	}
	rest, method := strings.CutSuffix(rest, "/methods")
	device := strings.Replace(rest, "/modules/", "/", 1)
	if err := h.authorize(r, "/devices/"+rest); err != nil {
		return nil, err
	}
	if !apiVersion.MatchString(r.URL.Query().Get("api-version")) {
		return nil, failing(400, 400004, "ArgumentInvalid", "the query needs api-version=2021-04-12")
	}
	if _, known := h.keys[device]; !known {
		return nil, failing(404, 404001, "DeviceNotFound", "%.140q is not registered", device)
	}
	switch {
	case method && r.Method == http.MethodPost:
		return h.serveMethod(r, device)
	case !method && r.Method == http.MethodGet:
		t, err := h.look(device)
		return h.twinAnswer(device, t), err
	case !method && r.Method == http.MethodPatch:
		return h.servePatch(r, device)
	}
	return nil, failing(405, 405000, "MethodNotAllowed", "POST of methods, GET and PATCH of twins")
}

// authorize takes the token of a policy, or without policies callers of this
// machine that are no web pages.
func (h *Cloud) authorize(r *http.Request, resource string) error {
	if len(h.policies) == 0 {
		from, called := bareHost(r.RemoteAddr), bareHost(r.Host)
		ours := called == "localhost" || net.ParseIP(called).IsLoopback() || strings.EqualFold(called, h.c.Accounts.Host)
		if !net.ParseIP(from).IsLoopback() || !ours || r.Header.Get("Origin") != "" {
			return failing(401, 401002, "IotHubUnauthorizedAccess", "without policies the service side is for programs of this machine")
		}
		return nil
	}
	t, err := readToken(r.Header.Get("Authorization"))
	if err == nil {
		err = h.checkPolicy(t, h.c.Accounts.Host+resource, policyService)
	}
	if err != nil {
		h.refuse("service", err.Error())
		return failing(401, 401002, "IotHubUnauthorizedAccess", "%v", err)
	}
	return nil
}

// bareHost is a host without its port.
func bareHost(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// readBody reads a JSON object.
func readBody(r *http.Request) (map[string]any, error) {
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, failing(413, 413001, "RequestEntityTooLarge", "the limit is %d bytes", maxBody)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var body map[string]any
	if err := d.Decode(&body); err != nil || body == nil {
		return nil, failing(400, 400027, "ArgumentInvalid", "the body is no JSON object")
	}
	return body, nil
}

// serveMethod calls a method for a caller.
func (h *Cloud) serveMethod(r *http.Request, device string) (map[string]any, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	name := text(body["methodName"])
	response, err := seconds(body, "responseTimeoutInSeconds", defaultResponse, minResponse)
	if err != nil {
		return nil, err
	}
	connect, err := seconds(body, "connectTimeoutInSeconds", 0, 0)
	if err != nil {
		return nil, err
	}
	if !methodName.MatchString(name) {
		return nil, failing(400, 400004, "ArgumentInvalid", "methodName %.140q, expected 1 to 128 letters, digits and _.-", name)
	}
	var payload []byte
	if value, given := body["payload"]; given {
		payload = marshal(value)
	}
	if len(payload) > maxMethod {
		return nil, failing(400, 400004, "ArgumentInvalid", "a payload of %d bytes, the limit is %d", len(payload), maxMethod)
	}
	if err = h.await(r.Context(), device, connect); err == nil {
		var res result
		if res, err = h.invoke(r.Context(), device, "", name, payload, response); err == nil {
			return map[string]any{"status": res.status, "payload": res.payload}, nil
		}
	}
	if errors.Is(err, errOffline) {
		return nil, &failure{404, 404103, "DeviceNotOnline", "the device is not connected, or hears no method calls", true}
	}
	return nil, &failure{504, 504101, "GatewayTimeout", "the device does not answer in time", true}
}

func seconds(body map[string]any, name string, preset, least time.Duration) (time.Duration, error) {
	if body[name] == nil {
		return preset, nil
	}
	n, ok := number(body[name])
	if !ok || n < int64(least/time.Second) || n > int64(maxResponse/time.Second) {
		return 0, failing(400, 400004, "ArgumentInvalid", "%s, expected %d to %d", name, least/time.Second, maxResponse/time.Second)
	}
	return time.Duration(n) * time.Second, nil
}

// twinAnswer is a twin as the service side sees it.
func (h *Cloud) twinAnswer(device string, t twin) map[string]any {
	desired, reported := h.desired(t.Desired.Values, t.Desired.Version), t.Reported.withVersion()
	desired["$metadata"], reported["$metadata"] = t.Desired.Meta, t.Reported.Meta
	id, module, both := strings.Cut(device, "/")
	state := "Disconnected"
	if h.sim.Connected(device) {
		state = "Connected"
	}
	all := map[string]any{"deviceId": id, "etag": t.etag(), "version": t.Version, "status": "enabled", "connectionState": state,
		"tags": t.Tags, "properties": map[string]any{"desired": desired, "reported": reported}}
	if both {
		all["moduleId"] = module
	}
	if t.Model != "" {
		all["modelId"] = t.Model
	}
	return all
}

// servePatch merges into tags and desired properties, and tells the device.
func (h *Cloud) servePatch(r *http.Request, device string) (map[string]any, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	properties, _ := body["properties"].(map[string]any)
	desired, _ := properties["desired"].(map[string]any)
	tags, _ := body["tags"].(map[string]any)
	desired = maps.Clone(desired)
	delete(desired, "$version") // of a twin that was read, changed and sent back
	delete(desired, "$metadata")
	if err := errors.Join(checkNames(desired, 1), checkNames(tags, 1)); err != nil {
		return nil, failing(400, 400004, "ArgumentInvalid", "%v", err)
	}
	match := strings.Trim(strings.TrimPrefix(r.Header.Get("If-Match"), "W/"), `"`)
	var after twin
	err = h.change(device, func(_ *cloudsim.Record, t *twin) error {
		if match != "" && match != "*" && match != t.etag() {
			return failing(412, 412001, "PreconditionFailed", "If-Match is not the etag of the twin")
		}
		now := h.sim.Now()
		if desired != nil {
			if err := t.Desired.apply(desired, now, "desired"); err != nil {
				return failing(400, 400004, "ArgumentInvalid", "%v", err)
			}
		}
		if merge(t.Tags, map[string]any{}, tags, ""); size(t.Tags) > maxTags {
			return failing(400, 400004, "ArgumentInvalid", "tags of %d bytes, the limit is %d", size(t.Tags), maxTags)
		}
		t.Version, t.Etag = t.Version+1, t.Etag+1
		after = *t
		return nil
	})
	if err != nil {
		return nil, err
	}
	if desired != nil {
		h.sim.Send(h.tell(device, desired, after.Desired.Version)...)
	}
	return h.twinAnswer(device, after), nil
}
