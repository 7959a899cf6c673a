package examples_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasmhost"
)

const (
	app        = "8800100099990000"
	appMessage = "../control/haas/testdata/success.txt" // asks for 0.0.2
)

// member is one of an archive; a link leads to its content.
type member struct {
	name, content string
	kind          byte
}

// pack makes a package with a manifest.json in front of its members, unless it is "".
func pack(t *testing.T, manifest string, members ...member) []byte {
	t.Helper()
	if manifest != "" {
		members = append([]member{{"manifest.json", manifest, tar.TypeReg}}, members...)
	}
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Mode: 0o644}
		if m.kind == tar.TypeReg {
			h.Size = int64(len(m.content))
		} else {
			h.Linkname, m.content = m.content, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func manifestOf(name, id, version string) string {
	return fmt.Sprintf("{\n\t\"appName\": %q,\n\t\"version\": %q,\n\t\"appid\": %q\n}\n", name, version, id)
}

// appDevice is the folder of a device that runs version 0.0.1.
func appDevice(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(planes(t), "haas")
	writeFile(t, filepath.Join(dir, "app/first/manifest.json"), []byte(manifestOf("demo", app, "0.0.1")))
	writeFile(t, filepath.Join(dir, "app/first/main.py"), []byte("print('first')\n"))
	if err := os.Symlink("first", filepath.Join(dir, "app/current")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// install has the cloud ask a device that runs a version for a package; edit
// changes the message further.
func install(t *testing.T, dir, version, name string, content, served []byte, edit func(string) string) engine.Result {
	t.Helper()
	from := serve(t)
	from.put("/"+name, served)
	config, all := conversation(t, appMessage)
	config["version"] = version
	meant := fit(from.URL+"/"+name+"?Signature=s3cr3t", content)
	command := ask(t, dialectOf(t, "haas", config), all, 1, func(text string) string { return edit(meant(text)) })
	return update(t, from, dir, filepath.Join(dir, "update.yaml"), command)
}

// runs wants what app/current holds, and the first version as it was.
func runs(t *testing.T, dir, version, main string) {
	t.Helper()
	if got := string(readFile(t, filepath.Join(dir, "app/current/main.py"))); got != main {
		t.Errorf("current main.py is %q, want %q", got, main)
	}
	if got := string(readFile(t, filepath.Join(dir, "app/current/manifest.json"))); !strings.Contains(got, `"`+version+`"`) {
		t.Errorf("current manifest.json is %s, want version %s", got, version)
	}
	if got := string(readFile(t, filepath.Join(dir, "app/first/main.py"))); got != "print('first')\n" {
		t.Errorf("the old main.py is %q", got)
	}
}

func same(text string) string { return text }

// A package of the HaaS cloud that is what its message says is installed beside
// the old one, which can be asked for again.
func TestPlanesHaaS(t *testing.T) {
	dir := appDevice(t)
	second := pack(t, manifestOf("demo", app, "0.0.2"), member{"main.py", "print('second')\n", tar.TypeReg})
	if got := install(t, dir, "0.0.1", "demo-"+app+"-0.0.2.tar.gz", second, second, same); got.State != engine.Succeeded {
		t.Fatalf("ended %s (%s, %s)", got.State, got.Code, got.Message)
	}
	runs(t, dir, "0.0.2", "print('second')\n")

	first := pack(t, manifestOf("demo", app, "0.0.1"), member{"main.py", "print('first again')\n", tar.TypeReg})
	back := func(text string) string {
		return strings.NewReplacer(`"rollingBack": 0`, `"rollingBack": 1`, `"0.0.2"`, `"0.0.1"`, "1657023114", "1657023115").Replace(text)
	}
	if got := install(t, dir, "0.0.2", "app.gz", first, first, back); got.State != engine.Succeeded {
		t.Fatalf("rolling back ended %s (%s, %s)", got.State, got.Code, got.Message)
	}
	runs(t, dir, "0.0.1", "print('first again')\n")
}

// A package that is not what its message says, or that holds what no package
// may, leaves the old app running and nothing outside of its folder.
func TestPlanesHaaSRefuses(t *testing.T) {
	good, main := manifestOf("demo", app, "0.0.2"), member{"main.py", "print('second')\n", tar.TypeReg}
	for _, tt := range []struct {
		name, says string
		content    []byte
		file       string // app.gz by default
		spoil      bool
	}{
		{name: "an app that is sick", says: `answers "sick"`, content: pack(t, good, member{"main.py", "# sick\n", tar.TypeReg})},
		{name: "another app", says: "another app", content: pack(t, manifestOf("demo", "8800100099990001", "0.0.2"), main)},
		{name: "another version", says: "another version", content: pack(t, manifestOf("demo", app, "0.0.3"), main)},
		{name: "another name", says: "the name of the package", content: pack(t, good, main), file: "other-" + app + "-0.0.2.tar.gz"},
		{name: "no manifest", says: "no manifest.json", content: pack(t, "", main)},
		{name: "a manifest in a folder", says: "no manifest.json", content: pack(t, "", member{"demo/manifest.json", good, tar.TypeReg}, main)},
		{name: "a manifest that is a link", says: "not acceptable", content: pack(t, "", member{"manifest.json", "main.py", tar.TypeSymlink}, main)},
		{name: "a manifest that is no JSON", says: "has no appName", content: pack(t, "version 0.0.2", main)},
		{name: "a manifest without end", says: "more than 4096 bytes", content: pack(t, good+strings.Repeat(" ", 5000), main)},
		{name: "two manifests", says: "damaged", content: pack(t, good, main, member{"manifest.json", manifestOf("demo", app, "0.0.9"), tar.TypeReg})},
		{name: "a way out", says: "damaged", content: pack(t, good, main, member{"../evil", "x", tar.TypeReg})},
		{name: "an absolute name", says: "damaged", content: pack(t, good, main, member{"/tmp/evil", "x", tar.TypeReg})},
		{name: "a link", says: "damaged", content: pack(t, good, main, member{"evil", "/etc/passwd", tar.TypeSymlink})},
		{name: "a hard link", says: "damaged", content: pack(t, good, main, member{"evil", "main.py", tar.TypeLink})},
		{name: "a device", says: "damaged", content: pack(t, good, main, member{"evil", "", tar.TypeChar})},
		{name: "a pipe", says: "damaged", content: pack(t, good, main, member{"evil", "", tar.TypeFifo})},
		{name: "no archive", says: "damaged", content: bytes.Repeat([]byte("no archive "), 100)},
		{name: "another MD5", says: "md5", content: pack(t, good, main), spoil: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, served := appDevice(t), tt.content
			if tt.spoil {
				served = damaged(served)
			}
			if tt.file == "" {
				tt.file = "app.gz"
			}
			got := install(t, dir, "0.0.1", tt.file, tt.content, served, same)
			if got.State != engine.RolledBack || !strings.Contains(got.Message, tt.says) {
				t.Errorf("ended %s (%s, %s), want %s and %q", got.State, got.Code, got.Message, engine.RolledBack, tt.says)
			}
			runs(t, dir, "0.0.1", "print('first')\n")
			entries, err := os.ReadDir(filepath.Join(dir, "app"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != "first" && e.Name() != "current" && e.Name() != ".updraft" {
					t.Errorf("%s is left in the folder", e.Name())
				}
			}
			if evil, _ := filepath.Glob(filepath.Join(dir, "*evil*")); evil != nil {
				t.Errorf("%s was written", evil)
			}
		})
	}
}

// The power may go at any moment while a package is unpacked: the same files
// are there in the end.
func TestPlanesHaaSPower(t *testing.T) {
	m := load(t, planeModule(t, "haas-app.wasm"), 1<<20, wasmhost.Compiler)
	content := pack(t, manifestOf("demo", app, "0.0.2"), member{"main.py", strings.Repeat("print('second')\n", 1000), tar.TypeReg}, member{"data.bin", "\x00\x01", tar.TypeReg})
	setup := conformance.Setup{
		Settings:  []byte(`{"appId": "` + app + `", "version": "0.0.2", "file": "app.gz"}`),
		Artifacts: map[string]*conformance.Blob{"package": conformance.Bytes(content)},
		Targets:   map[string]conformance.Target{"app": {Type: device.Directory}},
	}
	swept, err := conformance.KillSweep(t.Context(), m, setup)
	if err != nil {
		t.Fatal(err)
	}
	if got := swept.Reference; !got.Well() || !got.Targets["app"].Committed || got.Mark != "unpacked" {
		t.Errorf("ended %s with %v and mark %q", got.Reason(), got.Targets["app"], got.Mark)
	}
	for _, violation := range swept.Violations {
		t.Error(violation)
	}
	t.Logf("%d points, killed %d times", swept.Points, swept.Runs)
}
