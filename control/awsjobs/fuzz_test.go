package awsjobs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzDecode holds the decoders to what the rest relies on: a result within
// its limits, or ErrMessage in a short text.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no conversations: ", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for row := range strings.Lines(string(text)) {
			if row = strings.TrimSpace(row); strings.HasPrefix(row, "{") {
				f.Add([]byte(row))
			}
		}
	}
	f.Add([]byte(`{"c": "1000000000-1", "f": 0, "l": 256, "i": 1, "p": "AAAA"}`))
	f.Add([]byte(`{"s": 1, "r": [{"f": 0, "z": 131072}]}`))
	f.Add([]byte(`{"o": "ResourceNotFound", "m": "no"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := readAnswer(payload)
		checkError(t, err)
		if err == nil && a.execution != nil {
			if checkName(a.execution.id, 64, "_-") != nil || a.execution.number < 0 || a.execution.version < 0 {
				t.Fatalf("execution %+v", a.execution)
			}
			checkInputs(t, a.execution.document)
		}
		checkInputs(t, payload)
		s, err := NewStream(StreamConfig{Device: "gw-1", Stream: "s-1", Block: 256})
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range s.Topics() {
			s.Poll(time.Unix(1e9, 0))
			if err := s.Message(topic, payload); !errors.Is(err, ErrStream) {
				checkError(t, err)
			}
			n, err := s.Read(make([]byte, 512))
			if n > 512 || n == 0 && err == nil || len(s.blocks) > 512 || s.size > maxFile {
				t.Fatalf("read %d, %v of %d bytes in %d blocks", n, err, s.size, len(s.blocks))
			}
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if err != nil && (!errors.Is(err, ErrMessage) || len(err.Error()) > 300) {
		t.Fatalf("error of %d bytes: %v", len(err.Error()), err)
	}
}

func checkInputs(t *testing.T, document []byte) {
	t.Helper()
	inputs, err := Inputs(document)
	checkError(t, err)
	if err != nil {
		return
	}
	for name, value := range inputs {
		if value == "" || len(value) > 4*maxArgText {
			t.Fatalf("input %s has %d bytes", name, len(value))
		}
	}
	if text, ok := inputs["url"]; ok && checkURL(text) != nil {
		t.Fatalf("url %q", text)
	}
	if first, again := fingerprint(document), fingerprint(document); first != again || !json.Valid(document) {
		t.Fatalf("fingerprints %s and %s", first, again)
	}
}
