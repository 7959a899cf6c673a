package hub_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
)

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// answer is what the service side says.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// ask calls the service side. header holds name and value.
func ask(t *testing.T, s *cloudsim.Sim, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.Endpoints().Face+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(header) == 2 {
		req.Header.Set(header[0], header[1])
		req.Host = req.Header.Get("Host")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close() // all of it was read
	a := answer{status: res.StatusCode, header: res.Header}
	if bytes.HasPrefix(data, []byte("{")) {
		if err := json.Unmarshal(data, &a.body); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	}
	return a
}

const version = "?api-version=2021-04-12"

// service is the desired property of device update, as it is told now.
func service(t *testing.T, s *cloudsim.Sim) map[string]any {
	t.Helper()
	object, _ := at(ask(t, s, "GET", "/twins/gw-1"+version, "").body, "properties", "desired", "deviceUpdate", "service").(map[string]any)
	return object
}

func TestTwinOfTheServiceSide(t *testing.T) {
	s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1", "gw-1/m-1")}))
	a := ask(t, s, "GET", "/twins/gw-1"+version, "")
	want := map[string]any{"deviceId": "gw-1", "etag": "AAAAAAAAAAE=", "version": 2.0, "status": "enabled", "connectionState": "Disconnected", "tags": map[string]any{},
		"properties": map[string]any{"desired": map[string]any{"$version": 1.0, "$metadata": map[string]any{}}, "reported": map[string]any{"$version": 1.0, "$metadata": map[string]any{}}}}
	if a.status != 200 || !equal(a.body, want) || a.header.Get("ETag") != `"AAAAAAAAAAE="` {
		t.Errorf("GET = %d %v, want %v", a.status, a.body, want)
	}
	a = ask(t, s, "PATCH", "/twins/gw-1"+version, `{"tags":{"site":{"lab":1,"x":2}},"properties":{"desired":{"a":{"b":1,"c":2},"$version":7}}}`, "If-Match", `"AAAAAAAAAAE="`)
	if a.status != 200 || a.body["etag"] != "AAAAAAAAAAI=" || at(a.body, "properties", "desired", "$version") != 2.0 {
		t.Errorf("PATCH = %d %v, want the twin with version 2", a.status, a.body)
	}
	if at(a.body, "properties", "desired", "$metadata", "a", "b", "$lastUpdated") == nil {
		t.Errorf("metadata = %v, want $lastUpdated of a.b", at(a.body, "properties", "desired", "$metadata"))
	}
	a = ask(t, s, "PATCH", "/twins/gw-1"+version, `{"tags":{"site":{"x":null}},"properties":{"desired":{"a":{"c":null}}}}`, "If-Match", "*")
	if got := at(a.body, "properties", "desired", "a"); a.status != 200 || !equal(got, map[string]any{"b": 1.0}) || !equal(a.body["tags"], map[string]any{"site": map[string]any{"lab": 1.0}}) {
		t.Errorf("PATCH = %d %v, want a.c and site.x gone", a.status, a.body)
	}
	if a = ask(t, s, "GET", "/twins/gw-1/modules/m-1"+version, ""); a.status != 200 || a.body["moduleId"] != "m-1" || a.body["deviceId"] != "gw-1" {
		t.Errorf("module = %d %v", a.status, a.body)
	}
}

func TestServiceSideRefuses(t *testing.T) {
	s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code                     string
	}{
		{"another etag", "PATCH", "/twins/gw-1" + version, `{"properties":{"desired":{"a":1}}}`, []string{"If-Match", `"AAAAAAAAAAk="`}, 412, "PreconditionFailed"},
		{"an unknown device", "GET", "/twins/gw-9" + version, "", nil, 404, "DeviceNotFound"},
		{"no api-version", "GET", "/twins/gw-1", "", nil, 400, "ArgumentInvalid"},
		{"another path", "GET", "/devices/gw-1" + version, "", nil, 404, "NotFound"},
		{"another verb", "DELETE", "/twins/gw-1" + version, "", nil, 405, "MethodNotAllowed"},
		{"no JSON", "PATCH", "/twins/gw-1" + version, "{", nil, 400, "ArgumentInvalid"},
		{"a forbidden name", "PATCH", "/twins/gw-1" + version, `{"properties":{"desired":{"a.b":1}}}`, nil, 400, "ArgumentInvalid"},
		{"too deep", "PATCH", "/twins/gw-1" + version, `{"properties":{"desired":` + strings.Repeat(`{"a":`, 11) + "1" + strings.Repeat("}", 11) + `}}`, nil, 400, "ArgumentInvalid"},
		{"too large", "PATCH", "/twins/gw-1" + version, `{"properties":{"desired":{"a":"` + strings.Repeat("x", 32<<10) + `"}}}`, nil, 400, "ArgumentInvalid"},
		{"large tags", "PATCH", "/twins/gw-1" + version, `{"tags":{"a":"` + strings.Repeat("x", 8<<10) + `"}}`, nil, 400, "ArgumentInvalid"},
		{"a body beyond all limits", "PATCH", "/twins/gw-1" + version, strings.Repeat("x", 300<<10), nil, 413, "RequestEntityTooLarge"},
		{"a method of a device that is away", "POST", "/twins/gw-1/methods" + version, `{"methodName":"m"}`, nil, 404, "DeviceNotOnline"},
		{"a method without a name", "POST", "/twins/gw-1/methods" + version, `{}`, nil, 400, "ArgumentInvalid"},
		{"a strange timeout", "POST", "/twins/gw-1/methods" + version, `{"methodName":"m","responseTimeoutInSeconds":1}`, nil, 400, "ArgumentInvalid"},
		{"a name that a web page gave this machine", "GET", "/twins/gw-1" + version, "", []string{"Host", "evil.example"}, 401, "IotHubUnauthorizedAccess"},
		{"a web page", "GET", "/twins/gw-1" + version, "", []string{"Origin", "http://evil.example"}, 401, "IotHubUnauthorizedAccess"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, s, tt.method, tt.path, tt.body, tt.header...)
			message, _ := a.body["Message"].(string)
			want := "ErrorCode:" + tt.code + ";" // by which SDKs know it
			if tt.code == "DeviceNotOnline" {
				want = `{"errorCode":404103,"message":"the device is not connected, or hears no method calls","timestampUtc":"`
			}
			if a.status != tt.status || a.header.Get("iothub-errorcode") != tt.code || !strings.HasPrefix(message, want) {
				t.Errorf("answer = %d %v %v, want %d %s", a.status, a.header, a.body, tt.status, tt.code)
			}
		})
	}
	if a := ask(t, s, "GET", "/twins/gw-1"+version, ""); a.body["version"] != 2.0 {
		t.Errorf("twin = %v, want it unchanged", a.body)
	}
}

func TestServiceSideTokens(t *testing.T) {
	key, other := keyOf("service"), keyOf("other")
	s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1"), Policies: map[string]string{"service": key, "device": other}}))
	sas := func(resource, key, policy string, expiry time.Time) string {
		token, err := azurehub.Token(resource, key, expiry)
		if err != nil {
			t.Fatal(err)
		}
		return token + "&skn=" + policy
	}
	later := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		name, token string
		status      int
	}{
		{"of the hub", sas(hostName, key, "service", later), 200},
		{"of the device", sas(hostName+"/devices/gw-1", key, "service", later), 200},
		{"of another device", sas(hostName+"/devices/gw-2", key, "service", later), 401},
		{"expired", sas(hostName, key, "service", time.Now().Add(-time.Second)), 401},
		{"of a policy that may not", sas(hostName, other, "device", later), 401},
		{"with another policy's key", sas(hostName, other, "service", later), 401},
		{"of an unknown policy", sas(hostName, key, "nobody", later), 401},
		{"none", "", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a := ask(t, s, "GET", "/twins/gw-1"+version, "", "Authorization", tt.token); a.status != tt.status {
				t.Errorf("status = %d %v, want %d", a.status, a.body, tt.status)
			}
		})
	}
}

// A service calls a method of a device that uses the dialect.
func TestMethodOfTheServiceSide(t *testing.T) {
	s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	g := gw1(t, s, azurehub.Flat, &engineSide{})
	a := ask(t, s, "POST", "/twins/gw-1/methods"+version, `{"methodName":"firmwareUpdate","payload":{"fwPackageUri":"https://files.example/v2"},"responseTimeoutInSeconds":30,"connectTimeoutInSeconds":5}`)
	if want := map[string]any{"status": 200.0, "payload": map[string]any{"Response": "Firmware update started"}}; a.status != 200 || !equal(a.body, want) {
		t.Errorf("answer = %d %v, want %v", a.status, a.body, want)
	}
	if c := g.command(t, 1); c.Inputs["url"] != "https://files.example/v2" {
		t.Errorf("inputs = %v", c.Inputs)
	}
	if a := ask(t, s, "POST", "/twins/gw-1/methods"+version, `{"methodName":"reboot"}`); a.status != 200 || a.body["status"] != 501.0 {
		t.Errorf("answer = %d %v, want the device's 501 in a 200", a.status, a.body)
	}
}
