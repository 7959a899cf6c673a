package hawkbit_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hawkbit"
)

var active = regexp.MustCompile(`"(RUNNING|RETRIEVED|CANCELING|WAIT_FOR_CONFIRMATION)"`)

// FuzzRequests asks for anything below the device: each request has one of the
// answers that are meant, and none but feedback ends an action.
func FuzzRequests(f *testing.F) {
	cloud, err := hawkbit.New(hawkbit.Config{Accounts: accounts})
	if err != nil {
		f.Fatal(err)
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, cloud)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = sim.Close() })
	for _, body := range []string{"", `{"mode":"replace","data":{"a":null}}`, `{"confirmation":"denied","code":"7","details":["x"]}`,
		`{"id":"1","status":{"execution":"closed","result":{"finished":"none","progress":{"cnt":1,"of":2}},"code":200,"details":["a",1]}}`} {
		for _, path := range []string{"", "/configData", "/deploymentBase/1", "/deploymentBase/1/feedback", "/cancelAction/1/feedback", "/confirmationBase/1/feedback",
			"/confirmationBase/activateAutoConfirm", "/installedBase/1", "/softwaremodules/1/artifacts/a.img.MD5SUM"} {
			f.Add("GET", path, body)
			f.Add("POST", path, body)
			f.Add("PUT", path, body)
		}
	}
	allowed := []int{200, 304, 400, 404, 405, 406, 409, 410, 413, 415, 429}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if path != "" && !strings.HasPrefix(path, "/") {
			return
		}
		u, err := url.Parse("http://hawkbit.example/DEFAULT/controller/v1/gw-1" + path)
		if err != nil {
			return
		}
		before, _ := sim.Book().Look("gw-1")
		if !active.Match(before.Doc) {
			push := cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Software: cloudsim.Software{URL: "https://h/a.img", Version: "1"}}
			if _, err := sim.Order(context.Background(), push); err != nil {
				t.Fatal(err)
			}
		}
		q := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{"Authorization": {"TargetToken s3cr3t-1"}, "Content-Type": {"application/json"}}}
		q = q.WithContext(t.Context())
		q.Body = http.NoBody
		if body != "" {
			q.Body = httptest.NewRequest("POST", "/", strings.NewReader(body)).Body
		}
		w := httptest.NewRecorder()
		cloud.ServeHTTP(w, q)
		after, _ := sim.Book().Look("gw-1")
		if !slices.Contains(allowed, w.Code) {
			t.Errorf("%q %q: status %d", method, path, w.Code)
		}
		if len(after.Ends) > len(before.Ends) && (method != http.MethodPost || !strings.HasSuffix(u.Path, "/feedback")) {
			t.Errorf("%q %q ended an action", method, path)
		}
	})
}
