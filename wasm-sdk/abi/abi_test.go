package abi

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

const good = `{"name": "ab-slot", "version": "1.0.0", "kind": "install", "abi": {"min": "1.0"}, "phases": ["install", "commit"],
	"capabilities": ["target"], "limits": {"memory": "64MiB"}, "roles": {"targets": ["out"]}, "settings": {"type": "object"}}`

func TestDecodeManifest(t *testing.T) {
	m, err := DecodeManifest([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if m.Limits.Memory != 64<<20 || !m.Serves(Commit) || m.Serves(Health) || !m.Wants(Target) || m.Wants(State) {
		t.Errorf("manifest = %+v", m)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"unknown field", `"kind"`, `"kond": 1, "kind"`, `unknown field "kond"`},
		{"field twice", `"kind"`, `"name": "x", "kind"`, `field "name" stands there twice`},
		{"field twice in another case", `"kind"`, `"NAME": "x", "kind"`, `stands there twice`},
		{"nested field twice", `{"min": "1.0"}`, `{"min": "1.0", "min": "1.1"}`, `field "min" stands there twice`},
		{"text after the end", `"object"}}`, `"object"}} {}`, "text after the end"},
		{"no name", `"ab-slot"`, `""`, "name: want"},
		{"no semantic version", `"1.0.0"`, `"1.0"`, `version "1.0"`},
		{"leading zero", `"1.0.0"`, `"1.0.00"`, `version "1.0.00"`},
		{"unknown kind", `"install", "abi"`, `"firmware", "abi"`, `kind "firmware"`},
		{"install without commit", `"install", "commit"`, `"install"`, "want the phases install and commit"},
		{"unknown phase", `"commit"]`, `"commit", "flash"]`, `phase "flash"`},
		{"phase twice", `"commit"]`, `"commit", "install"]`, `phase "install" stands there twice`},
		{"unknown capability", `["target"]`, `["root"]`, `capability "root"`},
		{"a path as role", `["out"]`, `["a/b"]`, `role "a/b"`},
		{"bad range", `{"min": "1.0"}`, `{"min": "one"}`, `abi.min "one"`},
		{"empty range", `{"min": "1.0"}`, `{"min": "1.2", "max": "1.1"}`, `abi.max "1.1"`},
		{"negative memory", `"64MiB"`, `-1`, "want bytes"},
		{"huge memory", `"64MiB"`, `"99999999999GiB"`, "want bytes"},
		{"cut off", `"object"}}`, `"object"`, "byte"},
		{"too large", `"ab-slot"`, `"` + strings.Repeat("n", MaxManifest) + `"`, "at most 65536"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			if text == good {
				t.Fatal("the case changes nothing")
			}
			if _, err := DecodeManifest([]byte(text)); !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSemver(t *testing.T) {
	for s, want := range map[string]bool{
		"0.0.0": true, "1.2.3": true, "1.2.3-rc.1": true, "1.2.3-rc-1+build.01": true, "10.20.30+x": true,
		"": false, "1": false, "1.2.3.4": false, "v1.2.3": false, "1.2.3-": false, "1.2.3-01": false, "1.2.3+": false, "1.2.3-a..b": false, "1.2.3-ä": false,
	} {
		if got := semver(s); got != want {
			t.Errorf("semver(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestManifestRoundTrip(t *testing.T) {
	var m Manifest
	if err := json.Unmarshal([]byte(good), &m); err != nil {
		t.Fatal(err)
	}
	wasm := []byte("\x00asm\x01\x00\x00\x00\x00\x05\x04name\x01\x04\x01\x60\x00\x00")
	one, err := WithManifest(wasm, m)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(one, wasm) {
		t.Error("the other sections changed")
	}
	got, err := ReadManifest(one)
	m.Settings = json.RawMessage(`{"type":"object"}`)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("manifest = %+v, error %v", got, err)
	}
	m.Version = "2.0.0"
	two, err := WithManifest(one, m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadManifest(two); err != nil || got.Version != "2.0.0" {
		t.Errorf("a second manifest: %+v, %v; want it in place of the first", got, err)
	}
	if _, err := ReadManifest(wasm); !errors.Is(err, ErrManifest) {
		t.Errorf("without a manifest: %v", err)
	}
	m.Name = ""
	if _, err := WithManifest(wasm, m); !errors.Is(err, ErrManifest) {
		t.Errorf("a bad manifest: %v", err)
	}
}

func TestUint32(t *testing.T) {
	for in, want := range map[string][2]int64{
		"\x00": {0, 1}, "\x7f": {127, 1}, "\x80\x01": {128, 2}, "\x80\x80\x80\x80\x00": {0, 5}, "\xff\xff\xff\xff\x0f": {1<<32 - 1, 5},
		"": {0, 0}, "\x80": {0, 0}, "\xff\xff\xff\xff\x1f": {0, 0}, "\x80\x80\x80\x80\x80\x00": {0, 0},
	} {
		if v, n := Uint32([]byte(in)); int64(v) != want[0] || int64(n) != want[1] {
			t.Errorf("Uint32(% x) = %d, %d; want %v", in, v, n, want)
		}
	}
}

func TestNames(t *testing.T) {
	for p := Compat; p <= Enumerate; p++ {
		if PhaseNamed(p.String()) != p {
			t.Errorf("phase %d is named %q", p, p)
		}
	}
	if PhaseNamed("unknown") != 0 || Phase(99).String() != "unknown" {
		t.Error("an unknown phase has a name")
	}
	seen := map[string]bool{}
	for e := ENOENT; e >= ECONN; e-- {
		if seen[e.Error()] || e.Error() == "unknown errno" {
			t.Errorf("errno %d says %q", int32(e), e)
		}
		seen[e.Error()] = true
	}
	if (ECONN-1).Error() != "unknown errno" || Errno(5).Error() != "unknown errno" {
		t.Error("an unknown errno has a text")
	}
}

func FuzzReadManifest(f *testing.F) {
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x00\x05\x04name"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x00\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := ReadManifest(wasm)
		if err == nil {
			err = m.Validate()
		} else if errors.Is(err, ErrBinary) || errors.Is(err, ErrManifest) {
			return
		}
		if err != nil {
			t.Errorf("error = %v, manifest %+v", err, m)
		}
	})
}
