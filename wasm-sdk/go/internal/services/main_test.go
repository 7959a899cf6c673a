package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

func TestServicesOnTheDouble(t *testing.T) {
	d := updraft.Double{
		Settings: `{"slot": "b"}`, Fuel: 1,
		Artifacts: map[string][]byte{"tree": archived(t, "./bin/tool", "tool", "./etc/conf", "conf"), "packed": zipped(t, "inflated"), "delta": []byte("+x")},
		Targets:   map[string][]byte{"old": []byte("old")},
		OnPatch:   func(old, patch []byte) ([]byte, error) { return append(old, patch...), nil },
		OnVerify:  func([]byte, string, string) error { return abi.EBADDATA },
		OnHTTP: func(r abi.Request, body []byte) (int, map[string]string, []byte, error) {
			if r.URL != "https://example.com/ask" || string(body) != "question" {
				return 0, nil, nil, errors.New("another question")
			}
			return 200, nil, []byte("answer"), nil
		},
		OnSerial: func(port string, sent []byte) ([]byte, error) { return []byte("pong"), nil },
		OnExec: func(name string, p map[string]string) (int, []byte, error) {
			return 3, []byte("said " + p["port"]), nil
		},
	}
	for _, phase := range []abi.Phase{abi.Install, abi.Commit} {
		if class, err := d.Call(phases, phase); class != abi.OK || err != nil {
			t.Fatalf("%s: class %d, error %v", phase, class, err)
		}
	}
	if string(d.Targets["out"]) != "old+x" || string(d.Targets["dir/etc/conf"]) != "conf" || d.Restart != "new firmware" {
		t.Errorf("targets %q, restart %q", d.Targets, d.Restart)
	}
}

// What the double has no answer for is not granted.
func TestNothingIsGranted(t *testing.T) {
	d := updraft.Double{Artifacts: map[string][]byte{"a": []byte("a")}}
	class, err := d.Call(updraft.Phases{Install: func(s *updraft.Step) error {
		a, err := s.Artifact("a")
		if err != nil {
			return err
		}
		_, httpErr := s.HTTP(abi.Request{URL: "https://example.com"}, nil)
		_, serialErr := s.Serial("p", nil, nil, 0)
		_, _, execErr := s.Exec("c", nil)
		for _, err := range []error{httpErr, serialErr, execErr, s.Verify(a, "", "")} {
			if !errors.Is(err, abi.EDENIED) {
				t.Errorf("error %v, want %v", err, abi.EDENIED)
			}
		}
		if err := a.Close(); err != nil {
			return err
		}
		defer func() {
			if recover() == nil {
				t.Error("a closed handle did not panic")
			}
		}()
		_, err = a.Size()
		return err
	}}, abi.Install)
	if class != abi.OK || err != nil {
		t.Errorf("class %d, error %v", class, err)
	}
}

func TestArchivesThatAreRefused(t *testing.T) {
	for name, archive := range map[string][]byte{
		"upwards":  archived(t, "../x", ""),
		"absolute": archived(t, "/x", ""),
		"twice":    archived(t, "a/x", "", "a/./x", ""),
		"cut off":  archived(t, "x", "text")[:514],
	} {
		d := updraft.Double{Artifacts: map[string][]byte{"tree": archive}}
		class, err := d.Call(updraft.Phases{Install: func(s *updraft.Step) error {
			a, err := s.Artifact("tree")
			if err != nil {
				return err
			}
			dir, err := s.Target("dir", updraft.Write)
			if err != nil {
				return err
			}
			_, err = s.Unpack(dir, a)
			return err
		}}, abi.Install)
		if class != abi.Failed || !errors.Is(err, abi.EBADDATA) {
			t.Errorf("%s: class %d, error %v; staged %v", name, class, err, slices.Collect(maps.Keys(d.Staged)))
		}
	}
}

func archived(t *testing.T, namesAndTexts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for pair := range slices.Chunk(namesAndTexts, 2) {
		if err := w.WriteHeader(&tar.Header{Name: pair[0], Size: int64(len(pair[1])), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(pair[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
