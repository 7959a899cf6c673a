package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

var (
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
)

func release() *Release {
	return &Release{
		Updraft: ReleaseFormat, Name: "gateway", Version: "2.0.0+build <é>", SecurityVersion: 3,
		Artifacts: []Artifact{
			{Name: "image", Size: 1 << 33, SHA256: sumA, URL: "image.bin?a=1&b=2", Deltas: []Delta{
				{Format: "zstd", URL: "image.zst", Size: 12, SHA256: sumB, BaseSize: 34, BaseSHA256: sumA},
			}},
			{Name: "app", Size: 0, SHA256: sumB, URL: "https://host/app"},
		},
	}
}

func encode(t testing.TB, r *Release) []byte {
	t.Helper()
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReleaseText(t *testing.T) {
	r := &Release{Name: "gateway", Version: "2", SecurityVersion: 3, Artifacts: []Artifact{{Name: "image", Size: 1, SHA256: sumA, URL: "a?b&c"}}}
	want := `{
  "updraft": "release/1",
  "name": "gateway",
  "version": "2",
  "securityVersion": 3,
  "artifacts": [
    {
      "name": "image",
      "size": 1,
      "sha256": "` + sumA + `",
      "url": "a?b&c"
    }
  ]
}
`
	if got := string(encode(t, r)); got != want {
		t.Errorf("Encode =\n%s\nwant\n%s", got, want)
	}
	if r.Updraft != "" {
		t.Error("Encode changed the release")
	}
	whole := release()
	got, err := ParseRelease("r", encode(t, whole))
	if err != nil || !reflect.DeepEqual(got, whole) {
		t.Errorf("ParseRelease = %+v, %v, want %+v", got, err, whole)
	}
	largest := release()
	largest.Artifacts[0].Size = MaxSize
	largest.SecurityVersion = 1<<63 - 1
	if got, err := ParseRelease("r", encode(t, largest)); err != nil || !reflect.DeepEqual(got, largest) {
		t.Errorf("the largest numbers: %+v, %v", got, err)
	}
	largest.Artifacts[0].Size++
	if text, err := largest.Encode(); !errors.Is(err, ErrManifest) {
		t.Errorf("Encode of a size too large = %q, %v, want ErrManifest", text, err)
	}
}

func TestParseReleaseRefuses(t *testing.T) {
	const start = `{"updraft":"release/1","name":"n","version":"1","securityVersion":1,"artifacts":[`
	artifact := func(fields string) string {
		return start + "\n {" + fields + "}]}"
	}
	const rest = `"sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","url":"u"`
	whole := artifact(`"name":"a","size":1,` + rest)
	if _, err := ParseRelease("r", []byte(whole)); err != nil {
		t.Fatalf("the unchanged manifest: %v", err)
	}
	change := func(old, with string) string {
		if strings.Count(whole, old) == 0 {
			t.Fatalf("%q is not in the manifest", old)
		}
		return strings.Replace(whole, old, with, 1)
	}
	sha := func(s string) string { return artifact(`"name":"a","size":1,"url":"u","sha256":"` + s + `"`) }
	name := func(s string) string { return artifact(`"name":` + s + `,"size":1,` + rest) }
	url := func(s string) string {
		return artifact(`"name":"a","size":1,"sha256":"` + sumA + `","url":` + s)
	}
	size := func(s string) string { return artifact(`"size":` + s + `,"name":"a",` + rest) }
	many := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"name":"a%d","size":1,%s}`, i, rest)
		}
		return start + strings.Join(list, ",") + "]}"
	}
	delta := `{"format":"zstd","url":"d","size":1,"sha256":"` + sumA + `","baseSize":2,"baseSha256":"` + sumB + `"}`
	deltas := func(n int) string {
		return artifact(`"name":"a","size":1,` + rest + `,"deltas":[` + strings.TrimSuffix(strings.Repeat(delta+",", n), ",") + "]")
	}
	for _, good := range []string{many(MaxArtifacts), deltas(MaxDeltas), deltas(0)} {
		if _, err := ParseRelease("r", []byte(good)); err != nil {
			t.Errorf("at the limit: %v", err)
		}
	}
	deep := strings.Repeat("[", 100000)

	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "r:1:1: the manifest ends too early"},
		{"a cut", whole[:len(whole)-1], "ends too early"},
		{"a cut in a string", whole[:20], "r:1:12: updraft: the manifest ends too early"},
		{"a list", "[]", "r:1:1: is a list, expected an object"},
		{"a byte order mark", "\ufeff" + whole, "r:1:1: is not JSON"},
		{"a comment", "/* */" + whole, "is not JSON"},
		{"a trailing comma", change(`"url":"u"}`, `"url":"u",}`), "is not JSON"},
		{"a missing comma", change(`"version"`, ``+" 1"), "is not JSON"},
		{"a second document", whole + "\n{}", "r:3:1: something follows"},
		{"junk at the end", whole + " x", "something follows"},
		{"broken text", change(`"n"`, "\"\xff\""), "r:1:32: the byte 0xff is not UTF-8"},
		{"half of a pair of surrogates", change(`"n"`, `"\ud800"`), "control character U+FFFD"},
		{"another version", change("release/1", "release/2"), `r:1:12: updraft: "release/2" is not known to this version of updraft, expected "release/1"`},
		{"a key twice", change(`"name":"n"`, `"name":"n","name":"n"`), "name: the key is there twice"},
		{"a key twice by escape", change(`"name":"n"`, `"name":"n","n\u0061me":"n"`), "name: the key is there twice"},
		{"a key in other letters", change(`"name":"n"`, `"Name":"n"`), `r:1:24: unknown key "Name" (have "name"`},
		{"a key that folds", artifact(`"name":"a","ſize":1,` + rest), `artifacts[0]: unknown key "ſize" (have "size"`},
		{"an unknown key", change(`"size"`, `"sise"`), `r:2:14: artifacts[0]: unknown key "sise" (have "size"`},
		{"a missing key", artifact(`"name":"a",` + rest), "r:2:2: artifacts[0].size: is missing"},
		{"a missing security version", change(`"securityVersion":1,`, ""), "r:1:1: securityVersion: is missing"},
		{"null", name("null"), "artifacts[0].name: is null, expected a string"},
		{"a number for a string", name("1"), "is a number, expected a string"},
		{"a string for a number", size(`"1"`), "artifacts[0].size: is a string, expected a number"},
		{"true for a number", size("true"), "is true or false, expected a number"},
		{"an object for a list", change("[", "{"), "is"},
		{"deep nesting", size(deep), "artifacts[0].size: is a list, expected a number"},
		{"a negative size", size("-1"), "r:2:10: artifacts[0].size: is negative, expected 0 to 4611686018427387904"},
		{"minus zero", size("-0"), "is negative"},
		{"a size too large", size("4611686018427387905"), "is too large"},
		{"a size beyond 64 bits", size("99999999999999999999999999999999999999"), "is too large"},
		{"a fraction", size("1.0"), "not written as a whole number"},
		{"an exponent", size("1e3"), "not written as a whole number"},
		{"a leading zero", size("01"), "is not JSON"},
		{"a negative security version", change(`"securityVersion":1`, `"securityVersion":-1`), "securityVersion: is negative"},
		{"an upper-case digest", sha(strings.Repeat("A", 64)), "artifacts[0].sha256: a SHA-256 has the digits 0-9 and a-f"},
		{"a short digest", sha(sumA[1:]), "64 hex digits, this has 63"},
		{"a digest with another letter", sha(sumA[1:] + "g"), `'g' at position 64`},
		{"an empty name", name(`""`), "artifacts[0].name: is empty"},
		{"a parent folder", name(`".."`), "cannot be a name"},
		{"a path", name(`"a/b"`), "path separator"},
		{"a path of another system", name(`"a\\b"`), "path separator"},
		{"a line end in a name", name(`"a\nb"`), "control character U+000A"},
		{"a NUL in a name", name(`"a\u0000b"`), "control character U+0000"},
		{"a name that reads backwards", name(`"a\u202eb"`), "control character U+202E"},
		{"a space around a name", name(`" a"`), "begins or ends with a space"},
		{"a long name", name(`"` + strings.Repeat("x", 129) + `"`), "has 129 bytes, at most 128"},
		{"a version that is a path", change(`"version":"1"`, `"version":"../1"`), "version: \"../1\" contains the path separator"},
		{"two artifacts of a name", strings.Replace(many(2), "a1", "a0", 1), `artifacts[1].name: "a0" is the name of two artifacts`},
		{"no artifacts", start + "]}", "artifacts: has 0 elements, expected at least 1"},
		{"too many artifacts", many(257), "artifacts: has more than 256 elements"},
		{"too many deltas", deltas(65), "artifacts[0].deltas: has more than 64 elements"},
		{"a bad delta", strings.Replace(deltas(2), `"baseSize":2`, `"baseSize":-2`, 1), "artifacts[0].deltas[0].baseSize: is negative"},
		{"a delta without a base", strings.Replace(deltas(2), `,"baseSize":2`, ``, 1), "artifacts[0].deltas[0].baseSize: is missing"},
		{"an empty address", url(`""`), "artifacts[0].url: is empty"},
		{"a long address", url(`"` + strings.Repeat("x", 2049) + `"`), "has 2049 bytes, at most 2048"},
		{"an address of another kind", url(`"ftp://h/x"`), `artifacts[0].url: has the scheme "ftp"`},
		{"an address with a password", url(`"https://u:hunter2@h/x"`), "artifacts[0].url: contains a user name"},
		{"too long", whole + strings.Repeat(" ", MaxManifest), "at most 1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRelease("r", []byte(tt.text))
			var as *ManifestError
			if !errors.Is(err, ErrManifest) || !errors.As(err, &as) || got != nil {
				t.Fatalf("ParseRelease = %v, %v, want ErrManifest", got, err)
			}
			if !strings.HasPrefix(err.Error(), "r:") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %q, want %q", err, tt.want)
			}
			if len(err.Error()) > 600 || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message says too much: %q", err)
			}
		})
	}
}

func TestArtifact(t *testing.T) {
	r := release()
	if got, err := r.Artifact("app"); err != nil || got != &r.Artifacts[1] {
		t.Errorf("Artifact = %v, %v", got, err)
	}
	_, err := r.Artifact("ap")
	want := `release gateway 2.0.0+build <é> has no artifact "ap" (have "app" "image")`
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	for i := range 20 {
		r.Artifacts = append(r.Artifacts, Artifact{Name: fmt.Sprintf("part-%02d", i)})
	}
	if _, err = r.Artifact("PART-17"); !strings.Contains(err.Error(), `(have "part-17" `) || !strings.Contains(err.Error(), "and 14 more") {
		t.Errorf("error = %v, want part-17 first and 14 more", err)
	}
}

func FuzzParseRelease(f *testing.F) {
	good := encode(f, release())
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"updraft":"release/1","Updraft":1,"artifacts":[{"size":-1e9}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRelease("r", data)
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Fatalf("error = %v", err)
			}
			return
		}
		// What is accepted is JSON that every other strict reader takes the same way.
		var other Release
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&other); err != nil || !json.Valid(data) {
			t.Fatalf("encoding/json refuses %q: %v", data, err)
		}
		for i := range other.Artifacts {
			if len(other.Artifacts[i].Deltas) == 0 {
				other.Artifacts[i].Deltas = nil
			}
		}
		if !reflect.DeepEqual(*r, other) {
			t.Fatalf("read %+v, encoding/json reads %+v", *r, other)
		}
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseRelease("r", text); err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("came back as %+v, %v", back, err)
		}
	})
}
