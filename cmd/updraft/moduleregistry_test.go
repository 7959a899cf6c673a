package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
)

// fakeRegistry is as much of a registry as a push and a pull ask for: blobs in
// one piece, manifests by tag and digest, and a password if it has one.
type fakeRegistry struct {
	password string

	mu        sync.Mutex
	blobs     map[string][]byte // by digest
	manifests map[string][]byte // by tag and by digest
	damaged   bool              // blobs come with one other byte
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, password, _ := r.BasicAuth(); password != f.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "who are you?")
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/acme/steps/")
	kind, name, _ := strings.Cut(path, "/")
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "see http://registry.invalid/help?token=secret")
	case r.Method == http.MethodPost && path == "blobs/uploads/":
		w.Header().Set("Location", "/v2/acme/steps/blobs/uploads/1?state=secret")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut && strings.HasPrefix(name, "uploads/"):
		f.put(w, r, f.blobs, r.URL.Query().Get("digest"))
	case r.Method == http.MethodPut && kind == "manifests":
		f.put(w, r, f.manifests, name)
	case kind == "blobs":
		f.get(w, f.blobs[name], "application/octet-stream", f.damaged)
	case kind == "manifests":
		f.get(w, f.manifests[name], "application/vnd.oci.image.manifest.v1+json", false)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method)
	}
}

func (f *fakeRegistry) put(w http.ResponseWriter, r *http.Request, into map[string][]byte, name string) {
	data, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	digest := digestOf(data)
	if err != nil || strings.HasPrefix(name, "sha256:") && name != digest {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", name)
		return
	}
	into[name], into[digest] = data, data
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func (f *fakeRegistry) get(w http.ResponseWriter, data []byte, mediaType string, damaged bool) {
	if data == nil {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "")
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digestOf(data))
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if damaged {
		data = append([]byte{data[0] + 1}, data[1:]...)
	}
	_, _ = w.Write(data)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// registryCommand is the script command
//
//	registry VARIABLE [PASSWORD]    serves a registry on 127.0.0.1, its host in VARIABLE
//	registry damage VARIABLE        makes its blobs come damaged from now on
func registryCommand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && (len(args) == 1 || len(args) == 2), "registry VARIABLE [PASSWORD], registry damage VARIABLE")
	if args[0] == "damage" {
		f := ts.Value(registryKey(args[1])).(*fakeRegistry)
		f.mu.Lock()
		f.damaged = true
		f.mu.Unlock()
		return
	}
	f := ts.Value(registryKey(args[0])).(*fakeRegistry)
	if len(args) == 2 {
		f.password = args[1]
	}
	s := httptest.NewServer(f)
	ts.Defer(s.Close)
	ts.Setenv(args[0], strings.TrimPrefix(s.URL, "http://"))
}

// registryKey is where a script's registry stands, by its variable.
type registryKey string

func newRegistry() *fakeRegistry {
	return &fakeRegistry{blobs: map[string][]byte{}, manifests: map[string][]byte{}}
}

// login is the script command
//
//	login HOST PASSWORD    writes what docker login does, for DOCKER_CONFIG=$WORK
func login(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "login HOST PASSWORD")
	secret := base64.StdEncoding.EncodeToString([]byte("me:" + args[1]))
	text, err := json.Marshal(map[string]any{"auths": map[string]any{args[0]: map[string]string{"auth": secret}}})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("config.json"), text, 0o600))
}

func TestEveryByteOfASignedModuleCounts(t *testing.T) {
	dir := t.TempDir()
	name, public := filepath.Join(dir, "step.wasm"), filepath.Join(dir, "vendor.pub")
	wasm := conformance.ReferenceGuest()
	if err := os.WriteFile(name, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	secret, key, err := trust.NewKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(public, key.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := signFile(t.Context(), name, secret, "a module"); err != nil {
		t.Fatal(err)
	}
	check := func() error {
		_, err := verifyFile(t.Context(), name, name+".minisig", []string{public})
		return err
	}
	if err := check(); err != nil {
		t.Fatalf("the module as it was signed: %v", err)
	}
	f, err := disk.OS().OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, b := range wasm {
		if _, err := f.WriteAt([]byte{b ^ 1}, int64(i)); err != nil {
			t.Fatal(err)
		}
		if got := exitCode(check()); got != exitRefused {
			t.Fatalf("byte %d changed: exit code %d, want %d", i, got, exitRefused)
		}
		if _, err := f.WriteAt([]byte{b}, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOCIReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for _, tt := range []struct{ name, text, dir, tag, wrong string }{
		{"a registry", "registry.example.com/acme/steps:1.0.0", "", "1.0.0", ""},
		{"a registry with a port", "127.0.0.1:5000/acme/steps:1.0.0", "", "1.0.0", ""},
		{"a digest in a registry", "registry.example.com/acme/steps@" + digest, "", digest, ""},
		{"a layout", "oci-layout:some/dir:1.0.0", "some/dir", "1.0.0", ""},
		{"a digest in a layout", "oci-layout:dir@" + digest, "dir", digest, ""},
		{"a path", "./dir:1", "./dir", "1", ""},
		{"an absolute path", "/a/b.c:1", "/a/b.c", "1", ""},
		{"a path with a colon in a folder", "/a:b/c", "/a:b/c", "", ""},
		{"no registry", "steps", "", "", "expected HOST/NAME:TAG"},
		{"a bad digest", "./dir@sha256:00", "", "", "64 hex digits"},
		{"another algorithm", "./dir@md5:" + strings.Repeat("0a", 32), "", "", "64 hex digits"},
		{"no folder", "oci-layout::1", "", "", "expected oci-layout:DIR:TAG"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := parseOCIReference(tt.text)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) || exitCode(err) != exitUsage {
					t.Fatalf("error = %v, want one with %q", err, tt.wrong)
				}
				return
			}
			if err != nil || r.dir != tt.dir || r.tag != tt.tag {
				t.Errorf("dir %q, tag %q, %v; want %q and %q", r.dir, r.tag, err, tt.dir, tt.tag)
			}
		})
	}
}
