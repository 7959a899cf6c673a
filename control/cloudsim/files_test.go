package cloudsim_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// fetch gives status, ETag and body; the error is that of reading the body.
func fetch(t *testing.T, url string, header map[string]string) (int, string, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header.Get("ETag"), body, err
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	image := bytes.Repeat([]byte("0123456789"), 1000)
	if err := os.WriteFile(filepath.Join(dir, "image"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s := start(t, cloudsim.Config{Files: dir})
	url := s.Endpoints().Files + "image?sig=x"
	sum := fmt.Sprintf(`"%x"`, sha256.Sum256(image))

	for _, tt := range []struct {
		name, path string
		header     map[string]string
		status     int
		body       string
	}{
		{"whole", "image", nil, 200, string(image)},
		{"a range", "image", map[string]string{"Range": "bytes=9990-"}, 206, "0123456789"},
		{"a range if unchanged", "image", map[string]string{"Range": "bytes=9995-", "If-Range": sum}, 206, "56789"},
		{"all if changed", "image", map[string]string{"Range": "bytes=9995-", "If-Range": `"other"`}, 200, string(image)},
		{"a range beyond the end", "image", map[string]string{"Range": "bytes=10000-"}, 416, ""},
		{"not there", "none", nil, 404, ""},
		{"the folder", "", nil, 404, ""},
		{"a link out of the folder", "link", nil, 404, ""},
		{"above the folder", "..%2f..%2fetc%2fpasswd", nil, 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, etag, body, err := fetch(t, s.Endpoints().Files+tt.path, tt.header)
			if status != tt.status || err != nil || status < 300 && (string(body) != tt.body || etag != sum) {
				t.Errorf("status %d, ETag %s, %d bytes, %v; want %d and %d bytes", status, etag, len(body), err, tt.status, len(tt.body))
			}
		})
	}
	if got := s.Served()["image"]; got.Requests != 5 {
		t.Errorf("served = %+v, want 5 requests", got)
	}

	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultCut, After: 1234})
	if status, _, body, err := fetch(t, url, nil); status != 200 || !bytes.Equal(body, image[:1234]) || err == nil {
		t.Errorf("cut: status %d, %d bytes, %v; want 1234 and an error", status, len(body), err)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultChanged, Client: "image"})
	if _, etag, body, err := fetch(t, url, nil); err != nil || len(body) != len(image) || bytes.Equal(body, image) || etag == sum {
		t.Errorf("changed: %d bytes, ETag %s, %v; want other bytes and another tag", len(body), etag, err)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultMissing, Every: 2})
	first, _, _, _ := fetch(t, url, nil)
	second, _, _, _ := fetch(t, url, nil)
	if first != 200 || second != 404 {
		t.Errorf("missing each second time: %d, %d", first, second)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultSlow, Rate: 40_000})
	began := time.Now()
	if _, _, body, err := fetch(t, url, nil); err != nil || !bytes.Equal(body, image) || time.Since(began) < 200*time.Millisecond {
		t.Errorf("slow: %d bytes in %s, %v; want all in at least 200ms", len(body), time.Since(began), err)
	}
}

// However the body is cut into pieces, it comes at the rate that was asked for.
func TestSlowFilesKeepTheirRate(t *testing.T) {
	dir := t.TempDir()
	const size, rate = 300 << 10, 600 << 10 // half a second
	if err := os.WriteFile(filepath.Join(dir, "image"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, cloudsim.Config{Files: dir})
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultSlow, Rate: rate})
	best := time.Hour
	for range 5 { // a busy machine makes it slower, but not each time
		began := time.Now()
		if _, _, body, err := fetch(t, s.Endpoints().Files+"image", nil); err != nil || len(body) != size {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
		if best = min(best, time.Since(began)); best < 750*time.Millisecond {
			break
		}
	}
	if best < 450*time.Millisecond || best > 750*time.Millisecond {
		t.Errorf("%d bytes at %d a second took %v, want about half a second", size, rate, best)
	}
}

// A web page in a browser on this machine does not reach the control interface.
func TestControlIsForPrograms(t *testing.T) {
	s := start(t, cloudsim.Config{})
	for name, header := range map[string]map[string]string{"an origin": {"Origin": "https://evil.example"}, "nothing": {}} {
		status, _, body, _ := fetch(t, s.Endpoints().Control+"/state", header)
		if (status == 200) != (name == "nothing") {
			t.Errorf("with %s: status %d %s", name, status, body)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Endpoints().Control+"/state", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example:80"
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("under another name: status %s", res.Status)
	}
	for _, body := range []string{`{`, `{"kind":"drop","more":1}`, `{"kind":"delay","delay":"x"}`, `{} {}`, strings.Repeat(" ", 2<<20)} {
		res, err := http.Post(s.Endpoints().Control+"/fault", "application/json", strings.NewReader(body)) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("body %.30q: status %s, want 400", body, res.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
