package stages

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/sample"
	"github.com/updraft-ota/updraft/internal/trust"
)

// zeros is a source of randomness for keys that are always the same.
type zeros byte

func (z zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(z)
	}
	return len(p), nil
}

// release is a release on a server: an image, and a delta from what slot a holds.
type release struct {
	f          *faulty
	key        trust.Secret
	public     trust.Public
	base, body []byte
	files      map[string][]byte // by path
	manifest   trust.Release
	etag       string
	// broken, if set, answers instead and says so.
	broken func(n int, w http.ResponseWriter, q *http.Request) bool
}

func newRelease(t testing.TB, r *rig) *release {
	t.Helper()
	return newReleaseWith(t, r, "zstd")
}

// newReleaseWith has a delta in another format, at the same address.
func newReleaseWith(t testing.TB, r *rig, format string) *release {
	t.Helper()
	key, public, err := trust.NewKey(zeros(1))
	if err != nil {
		t.Fatal(err)
	}
	base := fill(3<<20, 3)
	body := bytes.Clone(base[:2<<20])
	copy(body[1<<20:], fill(300<<10, 4))
	rel := &release{key: key, public: public, base: base, body: body, files: map[string][]byte{}, etag: `"1"`}
	patch := makePatch(t, format, base[:2<<20], body)
	rel.files["/image.bin"], rel.files["/image.zst"] = body, patch
	rel.manifest = trust.Release{Name: "gateway", Version: "2.0", SecurityVersion: 5, Artifacts: []trust.Artifact{{
		Name: "image", Size: int64(len(body)), SHA256: hexOf(body), URL: "image.bin?" + canary,
		Deltas: []trust.Delta{
			{Format: "unheard-of", URL: "image.vcdiff", Size: 10, SHA256: hexOf(nil), BaseSize: 1, BaseSHA256: hexOf(base[:1])},
			{Format: format, URL: "image.zst?" + canary, Size: int64(len(patch)), SHA256: hexOf(patch), BaseSize: 2 << 20, BaseSHA256: hexOf(base[:2<<20])},
		},
	}}}
	rel.sign(t)
	r.put(t, "/dev/a.img", base)
	r.c.Trust = trust.Policy{Keys: []trust.Public{public}}
	rel.f = newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) {
		if rel.broken != nil && rel.broken(n, w, q) {
			return
		}
		data, ok := rel.files[q.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		f.file(w, q, data, rel.etag, whole)
	})
	return rel
}

// program makes the artifact an executable, in which addresses are foretold.
func (rel *release) program(t testing.TB, r *rig) {
	t.Helper()
	rel.base, rel.body = sample.Programs(30_000)
	r.put(t, "/dev/a.img", rel.base)
	a := &rel.manifest.Artifacts[0]
	a.Size, a.SHA256 = int64(len(rel.body)), hexOf(rel.body)
	a.Deltas[1].BaseSize, a.Deltas[1].BaseSHA256 = int64(len(rel.base)), hexOf(rel.base)
	rel.files["/image.bin"] = rel.body
	rel.patch(t, makePatch(t, "udelta", rel.base, rel.body))
}

func makePatch(t testing.TB, name string, base, body []byte) []byte {
	t.Helper()
	format, err := delta.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	section := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	var out bytes.Buffer
	if _, err := delta.Make(t.Context(), format, &out, section(base), section(body), delta.Options{Level: delta.Fast}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (rel *release) sign(t testing.TB) {
	t.Helper()
	data, err := rel.manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	rel.files["/release.json"], rel.files["/release.json.minisig"] = data, rel.signature(t, data)
}

func (rel *release) signature(t testing.TB, data []byte) []byte {
	t.Helper()
	signature, err := trust.Sign(bytes.NewReader(data), rel.key, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func (rel *release) fetch(r *rig) func() engine.Filter {
	return func() engine.Filter {
		return &Fetch{c: &r.c, Manifest: rel.f.url + "/release.json?" + canary, Artifact: "image", Base: "rootfs@active"}
	}
}

// asked gives the paths of the requests, those in a row once.
func (rel *release) asked() string {
	var all []string
	for _, q := range rel.f.asked() {
		if name := strings.TrimPrefix(q.URL.Path, "/"); len(all) == 0 || all[len(all)-1] != name {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

func (r *rig) logs() string {
	var all []string
	for _, e := range r.events {
		if e.Kind == engine.EventLog {
			all = append(all, e.Text)
		}
	}
	return strings.Join(all, "\n")
}

const (
	head     = "release.json release.json.minisig"
	viaDelta = head + " image.zst"
	viaFull  = head + " image.bin"
)

func TestRelease(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(t *testing.T, r *rig, rel *release)
		code  string // of the end
		asked string
		log   string
	}{
		{"delta", nil, "", viaDelta, "zstd delta of"},
		{"no base named", func(_ *testing.T, r *rig, rel *release) {}, "", viaFull, "no base is named"},
		{"another base", func(t *testing.T, r *rig, rel *release) { r.put(t, "/dev/a.img", fill(3<<20, 9)) }, "", viaFull, "starts from another base"},
		{"a shorter base", func(t *testing.T, r *rig, rel *release) { r.put(t, "/dev/a.img", rel.base[:1<<20]) }, "", viaFull, "starts from 2097152 bytes, rootfs@active has 1048576"},
		{"little memory", func(_ *testing.T, r *rig, rel *release) { r.c.DeltaMemory = 1 << 20 }, "", viaFull, "of memory, the limit is 1048576"},
		{"a delta larger than the image", func(t *testing.T, r *rig, rel *release) {
			rel.manifest.Artifacts[0].Deltas[1].Size = 4 << 20
			rel.sign(t)
		}, "", viaFull, "is no smaller"},
		{"no room for the delta", func(_ *testing.T, r *rig, rel *release) { r.fs.Capacity = int64(len(rel.base)) + 100<<10 }, "", viaFull, "bytes on the disk"},
		{"no deltas", func(t *testing.T, r *rig, rel *release) {
			rel.manifest.Artifacts[0].Deltas = nil
			rel.sign(t)
		}, "", viaFull, "the release has no delta"},
		{"the delta is not on the server", func(_ *testing.T, r *rig, rel *release) { delete(rel.files, "/image.zst") }, "", viaDelta + " image.bin", "the delta does not work"},
		{"the delta gives something else", func(t *testing.T, r *rig, rel *release) {
			other := bytes.Clone(rel.body)
			other[0]++
			rel.patch(t, makePatch(t, "zstd", rel.base[:2<<20], other))
		}, "", viaDelta + " image.bin", "the delta gives the SHA-256"},
		{"the delta is no delta", func(t *testing.T, r *rig, rel *release) { rel.patch(t, fill(1000, 7)) }, "", viaDelta + " image.bin", "corrupt delta"},
		{"the delta has other bytes", func(_ *testing.T, r *rig, rel *release) {
			rel.files["/image.zst"] = fill(len(rel.files["/image.zst"]), 7)
		}, "digest", viaDelta, "dropped and fetched anew"},
		{"the image has other bytes", func(t *testing.T, r *rig, rel *release) {
			r.put(t, "/dev/a.img", nil)
			rel.files["/image.bin"] = fill(2<<20, 7)
		}, "digest", viaFull, ""},
		{"neither is on the server", func(_ *testing.T, r *rig, rel *release) {
			delete(rel.files, "/image.zst")
			delete(rel.files, "/image.bin")
		}, "http_404", viaDelta + " image.bin", ""},
		{"no manifest", func(_ *testing.T, r *rig, rel *release) { delete(rel.files, "/release.json") }, "http_404", "release.json", ""},
		{"no signature", func(_ *testing.T, r *rig, rel *release) { delete(rel.files, "/release.json.minisig") }, "untrusted", head, ""},
		{"no signature, none wanted", func(_ *testing.T, r *rig, rel *release) {
			delete(rel.files, "/release.json.minisig")
			r.c.Trust.Require = trust.SHA256
		}, "", viaDelta, ""},
		{"another key", func(t *testing.T, r *rig, rel *release) {
			_, other, err := trust.NewKey(zeros(2))
			if err != nil {
				t.Fatal(err)
			}
			r.c.Trust.Keys = []trust.Public{other}
		}, "untrusted", head, ""},
		{"one byte of the manifest differs", func(_ *testing.T, r *rig, rel *release) {
			rel.files["/release.json"] = bytes.Replace(rel.files["/release.json"], []byte("2.0"), []byte("2.1"), 1)
		}, "untrusted", head, ""},
		{"an older release", func(t *testing.T, r *rig, rel *release) { r.c.Trust.Floor = 6 }, "downgrade", head, ""},
		{"another artifact", func(t *testing.T, r *rig, rel *release) {
			rel.manifest.Artifacts[0].Name = "imagination"
			rel.sign(t)
		}, "unknown_artifact", head, ""},
		{"signed nonsense", func(t *testing.T, r *rig, rel *release) {
			rel.files["/release.json"] = []byte("{}")
			rel.files["/release.json.minisig"] = rel.signature(t, []byte("{}"))
		}, "manifest", head, ""},
		{"an address that leads to the disk", func(t *testing.T, r *rig, rel *release) {
			rel.manifest.Artifacts[0].URL, rel.manifest.Artifacts[0].Deltas = "file:///dev/a.img", nil
			rel.sign(t)
		}, "untrusted", head, ""},
		{"a manifest without an end", func(_ *testing.T, r *rig, rel *release) {
			rel.broken = func(_ int, w http.ResponseWriter, q *http.Request) bool {
				for err := error(nil); err == nil && q.Context().Err() == nil; {
					err = rel.f.send(w, rel.base)
				}
				return true
			}
		}, "size", "release.json", ""},
		{"each patch connection breaks off", func(_ *testing.T, r *rig, rel *release) {
			rel.broken = func(n int, w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/image.zst" {
					rel.f.file(w, q, rel.files["/image.zst"], rel.etag, 50_000)
				}
				return q.URL.Path == "/image.zst"
			}
		}, "", viaDelta, ""},
		{"the patch changes half-way", func(_ *testing.T, r *rig, rel *release) {
			rel.broken = func(n int, w http.ResponseWriter, q *http.Request) bool {
				if n == 3 {
					rel.f.file(w, q, fill(len(rel.files["/image.zst"]), 8), `"old"`, 50_000)
				}
				return false
			}
		}, "", viaDelta, "dropped and fetched anew"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			rel := newRelease(t, r)
			if tt.setup != nil {
				tt.setup(t, r, rel)
			}
			fetch := rel.fetch(r)
			if tt.name == "no base named" {
				fetch = func() engine.Filter {
					return &Fetch{c: &r.c, Manifest: rel.f.url + "/release.json", Artifact: "image"}
				}
			}
			res, err := r.run(t, fetch)
			if err != nil {
				t.Fatal(err)
			}
			if res.Code != tt.code || (res.State == engine.Succeeded) != (tt.code == "") {
				t.Fatalf("run ended %s, code %q: %s; want code %q\n%s", res.State, res.Code, res.Message, tt.code, r.logs())
			}
			if tt.code == "" && !r.out.equal(rel.body) {
				t.Errorf("%d bytes came and are not the artifact", len(r.out.bytes))
			}
			if rel.asked() != tt.asked {
				t.Errorf("asked for %q, want %q", rel.asked(), tt.asked)
			}
			if !strings.Contains(r.logs(), tt.log) {
				t.Errorf("log %q, want %q in it", r.logs(), tt.log)
			}
			if refusedCode := map[string]bool{"untrusted": true, "downgrade": true, "unknown_artifact": true, "manifest": true}; refusedCode[tt.code] != (res.State == engine.RefusedEnd) && !strings.Contains(tt.name, "leads to the disk") {
				t.Errorf("run ended %s with code %s", res.State, res.Code)
			}
		})
	}
}

// patch replaces the delta by one that is signed as well.
func (rel *release) patch(t testing.TB, patch []byte) {
	t.Helper()
	rel.files["/image.zst"] = patch
	d := &rel.manifest.Artifacts[0].Deltas[1]
	d.Size, d.SHA256 = int64(len(patch)), hexOf(patch)
	rel.sign(t)
}

// TestResumeInAnotherProcess stops at progress events, loses power, and
// begins with a new engine. The server has another release after the first stop.
func TestResumeInAnotherProcess(t *testing.T) {
	for _, way := range []string{"zstd", "udelta", "program", "full"} {
		t.Run(way, func(t *testing.T) {
			r := newRig(t)
			full := way == "full"
			rel := newReleaseWith(t, r, map[string]string{"zstd": "zstd", "full": "zstd", "udelta": "udelta", "program": "udelta"}[way])
			switch way {
			case "full":
				r.put(t, "/dev/a.img", nil)
			case "program":
				rel.program(t, r)
			}
			want, length := rel.body, int64(len(rel.body))
			if !full {
				length = int64(len(rel.files["/image.zst"]))
			}
			random := rand.New(rand.NewPCG(1, 2))
			stops := 0
			for ; ; stops++ {
				ctx, cancel := context.WithCancel(t.Context())
				left := 1 + random.IntN(8)
				r.ctx, r.tell = ctx, func(e engine.Event) {
					if e.Kind == engine.EventProgress {
						if left--; left == 0 {
							cancel()
						}
					}
				}
				res, err := r.run(t, rel.fetch(r))
				cancel()
				if err == nil {
					if res.State != engine.Succeeded {
						t.Fatalf("run ended %s: %s", res.State, res.Message)
					}
					break
				}
				if !errors.Is(err, context.Canceled) || stops > 1000 {
					t.Fatal(err)
				}
				if stops == 0 {
					rel.manifest.Version, rel.manifest.Artifacts[0].SHA256 = "3.0", hexOf(nil)
					rel.sign(t)
				}
				r.fs.Cut(disk.Power)
			}
			if !r.out.equal(want) {
				t.Error("the artifact differs")
			}
			if sent, most := rel.f.sent.Load(), length+int64(stops+1)*2<<20; sent > most {
				t.Errorf("%d bytes sent in %d stops, want at most %d", sent, stops, most)
			}
			if stops == 0 {
				t.Error("nothing was stopped")
			}
		})
	}
}

// TestDamagedWorkspace spoils a file of the workspace while nobody runs.
func TestDamagedWorkspace(t *testing.T) {
	for _, tt := range []struct{ name, file, code, log string }{
		{"nothing", "artifact", "", "zstd delta of"},
		{"the patch", "patch", "", "dropped and fetched anew"},
		{"the manifest, and the server has another one", "release.json", "manifest_changed", ""},
		{"the base", "", "", "are not the base of the delta"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			rel := newRelease(t, r)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r.ctx, r.tell = ctx, func(e engine.Event) {
				if e.Kind == engine.EventProgress && e.Step == "write" && e.Done > 1<<20 {
					cancel()
				}
			}
			if _, err := r.run(t, rel.fetch(r)); !errors.Is(err, context.Canceled) {
				t.Fatalf("run: %v, want it stopped", err)
			}
			name := "/state/work/run-1/f0/" + tt.file
			switch tt.file {
			case "":
				name = "/dev/a.img"
			case "artifact": // nobody reads it
				r.put(t, name, []byte("left by nobody"))
			}
			data, err := disk.ReadFile(r.fs, name, 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/3] ^= 1
			if err := disk.WriteFile(r.fs, name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			rel.manifest.Version = "3.0"
			rel.sign(t)
			if tt.file == "" { // lose the process just when the delta is given up
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r.ctx, r.tell = ctx, func(e engine.Event) {
					if e.Kind == engine.EventLog {
						cancel()
					}
				}
				if _, err := r.run(t, rel.fetch(r)); !errors.Is(err, context.Canceled) {
					t.Fatalf("run: %v, want it stopped", err)
				}
			}
			r.ctx = t.Context()
			r.must(t, tt.code, rel.body, rel.fetch(r))
			if !strings.Contains(r.logs(), tt.log) {
				t.Errorf("log %q, want %q in it", r.logs(), tt.log)
			}
		})
	}
}

func TestOutputsAndCost(t *testing.T) {
	r := newRig(t)
	rel := newRelease(t, r)
	g := r.graph([]func() engine.Filter{rel.fetch(r)})
	var seen *engine.Scope
	g.Report = func(s *engine.Scope) (map[string]any, error) { seen = s; return nil, nil }
	plan, err := engine.NewPlan(t.Context(), engine.Config{Door: r.door, FS: r.fs, Clock: r.clock, Dir: "/state", Guard: "/guard.bin"}, engine.Command{Graph: g})
	if err != nil || plan.Refused != "" {
		t.Fatalf("plan: %v %s", err, plan.Refused)
	}
	patch := int64(len(rel.files["/image.zst"]))
	text, err := json.Marshal(plan.Effects)
	if err != nil {
		t.Fatal(err)
	}
	leaks(t, string(text))
	if e := plan.Effects; len(e) < 2 || e[0].Kind != "download" || e[0].Bytes != patch || e[0].Certainty != engine.Exact || e[1].Kind != "space" || e[1].Bytes != patch {
		t.Errorf("plan = %s, want a download and space of %d bytes", text, patch)
	}
	if _, err := r.fs.Lstat("/state"); err == nil {
		t.Error("the plan wrote something")
	}
	e, err := engine.New(engine.Config{Store: r.store, Door: r.door, FS: r.fs, Clock: r.clock, Dir: "/state", Guard: "/guard.bin"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Submit(t.Context(), engine.Command{Run: "r", Graph: g}); err != nil {
		t.Fatal(err)
	}
	if res, err := e.Run(t.Context(), "r"); err != nil || res.State != engine.Succeeded {
		t.Fatalf("run = %+v, %v", res, err)
	}
	got := fmt.Sprint(seen.Release, seen.Steps["f0"])
	want := fmt.Sprint(map[string]any{"name": "gateway", "version": "2.0", "securityVersion": 5}, map[string]any{"version": "2.0", "size": len(rel.body), "sha256": hexOf(rel.body), "delta": true})
	if got != want {
		t.Errorf("release and outputs are %s, want %s", got, want)
	}
}

func TestTrustOfURL(t *testing.T) {
	body := fill(size, 1)
	sum := md5.Sum(body)
	right := hex.EncodeToString(sum[:])
	for _, tt := range []struct {
		name    string
		require trust.Requirement
		fetch   Fetch
		code    string
	}{
		{"signature wanted", trust.Signature, Fetch{Size: size, SHA256: hexOf(body)}, "untrusted"},
		{"an unknown word", trust.Requirement(7), Fetch{Size: size, SHA256: hexOf(body)}, "untrusted"},
		{"sha256 wanted and given", trust.SHA256, Fetch{Size: size, SHA256: hexOf(body)}, ""},
		{"sha256 wanted, no size", trust.SHA256, Fetch{SHA256: hexOf(body)}, "untrusted"},
		{"sha256 wanted, md5 given", trust.SHA256, Fetch{Size: size, MD5: right}, "untrusted"},
		{"none wanted", trust.None, Fetch{}, ""},
		{"md5 right", trust.None, Fetch{MD5: right}, ""},
		{"md5 wrong", trust.None, Fetch{MD5: strings.Repeat("0", 32)}, "digest"},
		{"sha256 wrong, md5 right", trust.None, Fetch{MD5: right, SHA256: hexOf(nil)}, "digest"},
		{"size wrong", trust.None, Fetch{Size: size - 1}, "size"},
		{"base without a manifest", trust.None, Fetch{Base: "rootfs@active"}, "usage"},
	} {
		for _, local := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, local=%v", tt.name, local), func(t *testing.T) {
				f := newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) {
					most := whole
					if n == 1 {
						most = half // so that hashes go on from a state
					}
					f.file(w, q, body, `"1"`, most)
				})
				r := newRig(t)
				r.c.Trust.Require = tt.require
				r.put(t, "/dev/body", body)
				fetch := tt.fetch
				fetch.c, fetch.URL = &r.c, f.url+"/x?"+canary
				if local {
					fetch.URL = "file:///dev/body"
				}
				res, err := r.run(t, func() engine.Filter { own := fetch; return &own })
				if err != nil || res.Code != tt.code {
					t.Fatalf("run = %+v, %v, want code %q", res, err, tt.code)
				}
				if tt.code == "" && !r.out.equal(body) {
					t.Error("the artifact differs")
				}
				if tt.code == "untrusted" && len(f.asked()) > 0 {
					t.Errorf("%d requests before trust was clear", len(f.asked()))
				}
			})
		}
	}
}

func TestLocalRelease(t *testing.T) {
	r := newRig(t)
	rel := newRelease(t, r)
	for name, data := range rel.files {
		if strings.HasPrefix(name, "/release") {
			continue
		}
		r.put(t, "/dev"+name, data)
	}
	rel.manifest.Artifacts[0].URL, rel.manifest.Artifacts[0].Deltas[1].URL = "image.bin", "image.zst"
	rel.sign(t)
	for _, name := range []string{"/release.json", "/release.json.minisig"} {
		r.put(t, "/dev"+name, rel.files[name])
	}
	for _, address := range []string{"/dev/release.json", "file:///dev/release.json"} {
		r.reset(t)
		r.must(t, "", rel.body, func() engine.Filter {
			return &Fetch{c: &r.c, Manifest: address, Artifact: "image", Base: "rootfs@a"}
		})
	}
	r.reset(t)
	r.must(t, "not_found", nil, func() engine.Filter { return &Fetch{c: &r.c, Manifest: "/dev/nothing.json", Artifact: "image"} })
	if n := len(rel.f.asked()); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

func TestFetchCheck(t *testing.T) {
	for _, tt := range []struct {
		fetch Fetch
		want  string
	}{
		{Fetch{}, "needs manifest"},
		{Fetch{Manifest: "m", URL: "u", Artifact: "a"}, "url: manifest is given too"},
		{Fetch{Manifest: "m"}, "needs artifact"},
		{Fetch{URL: "u", Artifact: "a"}, "artifact: names an artifact"},
		{Fetch{URL: "u", Base: "rootfs@active"}, "base: needs a manifest"},
		{Fetch{Manifest: "m", Artifact: "a", SHA256: hexOf(nil)}, "stand in the manifest"},
		{Fetch{URL: "u", Size: -1}, "size: is -1"},
		{Fetch{URL: "u", SHA256: "AB"}, "sha256: "},
		{Fetch{URL: "u", MD5: strings.Repeat("A", 32)}, "md5: want 32"},
		{Fetch{URL: "u", Size: 1, SHA256: hexOf(nil), MD5: strings.Repeat("a", 32)}, ""},
		{Fetch{Manifest: "m", Artifact: "a", Base: "rootfs@active"}, ""},
	} {
		var got []string
		tt.fetch.Check(func(field, text string) { got = append(got, field+": "+text) })
		if text := strings.Join(got, "; "); !strings.Contains(text, tt.want) || tt.want == "" && text != "" {
			t.Errorf("Check(%+v) = %q, want %q", tt.fetch, text, tt.want)
		}
	}
}
