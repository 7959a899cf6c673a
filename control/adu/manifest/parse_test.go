package manifest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

const (
	head   = `{"manifestVersion":"5","updateId":{"provider":"P","name":"N","version":"1.0"},`
	digest = "jImvxjlsjjgoIyBna8ne96wDXbUlSszxah3CbnAzI1I="
)

func TestManifestsAreRefusedByName(t *testing.T) {
	steps := func(text string) string { return head + `"instructions":{"steps":[` + text + `]}}` }
	files := func(text string) string {
		return head + `"instructions":{"steps":[{"handler":"a/b:1"}]},"files":{` + text + `}}`
	}
	for _, tt := range []struct {
		name, text string
		want       Reason
	}{
		{"the least one", simple, Success},
		{"version 4 as a number", strings.Replace(simple, `"5"`, `4`, 1), Success},
		{"other case", `{"ManifestVersion":"5","UpdateId":{"Provider":"P","name":"N","version":"1.0"},"Instructions":{"Steps":[{"Handler":"a/b:1"}]}}`, Success},
		{"size as text", files(`"f":{"filename":"a","sizeInBytes":"3","hashes":{"sha256":"` + digest + `"}}`), Success},
		{"not JSON", `x`, BadUpdateManifest},
		{"not UTF-8", "{\"a\":\"\xff\"}", BadUpdateManifest},
		{"a list", `[]`, BadUpdateManifest},
		{"too long", strings.Repeat(" ", MaxText+1), BadUpdateManifest},
		{"no version", `{}`, UnsupportedUpdateManifestVersion},
		{"version 3", strings.Replace(simple, `"5"`, `"3"`, 1), UnsupportedUpdateManifestVersion},
		{"version 6", strings.Replace(simple, `"5"`, `"6"`, 1), UnsupportedUpdateManifestVersion},
		{"no id", `{"manifestVersion":"5"}`, BadUpdateManifest},
		{"a provider with a slash", strings.Replace(simple, `"P"`, `"a/b"`, 1), BadUpdateManifest},
		{"a version of one number", strings.Replace(simple, `"1.0"`, `"1"`, 1), BadUpdateManifest},
		{"a version that is too high", strings.Replace(simple, `"1.0"`, `"1.2147483648"`, 1), BadUpdateManifest},
		{"no steps", steps(""), BadUpdateManifest},
		{"11 steps", steps(strings.Repeat(`{"handler":"a/b:1"},`, 10) + `{"handler":"a/b:1"}`), BadUpdateManifest},
		{"a step without a handler", steps(`{}`), BadUpdateManifest},
		{"a handler without a version", steps(`{"handler":"a/bcd"}`), BadUpdateManifest},
		{"a step of another type", steps(`{"type":"x","handler":"a/b:1"}`), BadUpdateManifest},
		{"a reference without a file", steps(`{"type":"reference"}`), BadUpdateManifest},
		{"a reference to no file", steps(`{"type":"reference","detachedManifestFileId":"f"}`), MissingDetachedManifestEntity},
		{"a detached manifest that is no file", head + `"detachedManifestFileId":"f"}`, MissingDetachedManifestEntity},
		{"a step with an unknown file", steps(`{"handler":"a/b:1","files":["f"]}`), BadFilesOrFileURLs},
		{"a file without a name", files(`"f":{"sizeInBytes":3,"hashes":{"sha256":"` + digest + `"}}`), BadFilesOrFileURLs},
		{"a file outside of its folder", files(`"f":{"fileName":"../a","sizeInBytes":3,"hashes":{"sha256":"` + digest + `"}}`), BadFilesOrFileURLs},
		{"a file without a size", files(`"f":{"fileName":"a","hashes":{"sha256":"` + digest + `"}}`), BadFilesOrFileURLs},
		{"a file of more than 2 GiB", files(`"f":{"fileName":"a","sizeInBytes":2147483649,"hashes":{"sha256":"` + digest + `"}}`), BadFilesOrFileURLs},
		{"a file without a hash", files(`"f":{"fileName":"a","sizeInBytes":3,"hashes":{"md5":"x"}}`), BadFilesOrFileURLs},
		{"a hash without padding", files(`"f":{"fileName":"a","sizeInBytes":3,"hashes":{"sha256":"` + digest[:43] + `"}}`), BadFilesOrFileURLs},
		{"a file id with a slash", files(`"f/g":{"fileName":"a","sizeInBytes":3,"hashes":{"sha256":"` + digest + `"}}`), BadFilesOrFileURLs},
		{"files in a list", head + `"files":[]}`, BadFilesOrFileURLs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse([]byte(tt.text)); Why(err) != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// entry describes content as a file.
func entry(id, content string) string {
	sum := sha256.Sum256([]byte(content))
	return fmt.Sprintf(`"%s":{"fileName":"%s.json","sizeInBytes":%d,"hashes":{"sha256":"%s"}}`, id, id, len(content), base64.StdEncoding.EncodeToString(sum[:]))
}

func TestDetachedManifest(t *testing.T) {
	small := `{"manifestVersion":"5","updateId":{"provider":"P","name":"N","version":"1.0"},"detachedManifestFileId":"f","files":{` + entry("f", simple) + `}}`
	m, err := Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	before := m
	if err := m.Attach([]byte(simple + " ")); Why(err) != BadDetachedManifest {
		t.Errorf("other bytes: %v, want %s", err, BadDetachedManifest)
	}
	if f, ok := m.Next(); !ok || f.ID != "f" || m.ID != before.ID {
		t.Fatalf("next = %+v %v", f, ok)
	}
	if err := m.Attach([]byte(simple)); err != nil {
		t.Fatal(err)
	}
	if _, more := m.Next(); more || len(m.Steps) != 1 {
		t.Errorf("more = %v, manifest %+v", more, m)
	}
	for name, content := range map[string]string{
		"no manifest": "x", "of another update": strings.Replace(simple, `"N"`, `"M"`, 1),
		"detached again": strings.Replace(small, `"f"`, `"g"`, 2),
	} {
		m, err := Parse([]byte(`{"manifestVersion":"5","updateId":{"provider":"P","name":"N","version":"1.0"},"detachedManifestFileId":"f","files":{` + entry("f", content) + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Attach([]byte(content)); Why(err) != BadDetachedManifest {
			t.Errorf("%s: %v, want %s", name, err, BadDetachedManifest)
		}
	}
}

func TestChildManifests(t *testing.T) {
	child := strings.Replace(simple, `"N"`, `"Child"`, 1)
	top := head + `"instructions":{"steps":[{"handler":"a/b:1"},{"type":"reference","detachedManifestFileId":"f"}]},"files":{` + entry("f", child) + `}}`
	m, err := Parse([]byte(top))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Attach([]byte(child)); err != nil {
		t.Fatal(err)
	}
	if _, more := m.Next(); more || m.Steps[1].Child == nil || m.Steps[1].Child.ID.Name != "Child" || len(m.Steps) != 2 {
		t.Errorf("steps = %+v", m.Steps)
	}
	if err := m.Attach([]byte(child)); Why(err) != BadDetachedManifest {
		t.Errorf("one more: %v, want %s", err, BadDetachedManifest)
	}
	m, err = Parse([]byte(head + `"instructions":{"steps":[{"type":"reference","detachedManifestFileId":"f"}]},"files":{` + entry("f", top) + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Attach([]byte(top)); Why(err) != BadDetachedManifest {
		t.Errorf("a child with a reference: %v, want %s", err, BadDetachedManifest)
	}
}

func TestRelatedFileIsChosenByItsSource(t *testing.T) {
	related := func(id, source string) string {
		return `"` + id + `":{"fileName":"` + id + `","sizeInBytes":1,"hashes":{"sha256":"` + digest + `"},"properties":{"microsoft.sourceFileHash":"` + source + `","microsoft.sourceFileHashAlgorithm":"sha256"}}`
	}
	m, err := Parse([]byte(head + `"instructions":{"steps":[{"handler":"a/b:1","files":["f"]}]},"files":{"f":{"fileName":"a","sizeInBytes":3,"hashes":{"sha256":"` + digest +
		`"},"downloadHandler":{"id":"microsoft/delta:1"},"relatedFiles":{` + related("r1", strings.Replace(digest, "j", "k", 1)) + "," + related("r2", digest) + `}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	f, _ := m.File("f")
	if r, ok := f.Delta([]string{"00", f.SHA256}); !ok || r.ID != "r2" || f.DownloadHandler != "microsoft/delta:1" {
		t.Errorf("delta = %+v %v of %+v", r, ok, f)
	}
	if r, ok := f.Delta([]string{"00"}); ok {
		t.Errorf("delta = %+v, want none", r)
	}
}
