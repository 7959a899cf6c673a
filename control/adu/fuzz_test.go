package adu

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDecode holds the decoders to what the rest relies on: a result within
// its limits, or ErrMessage without a word of a URL's query.
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
				f.Add([]byte(row), []byte(row))
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload, change []byte) {
		desired, version, err := readTwin(payload)
		if err != nil {
			checkError(t, err)
		} else if version < 0 || len(desired) > len(payload) {
			t.Fatalf("version %d, %d bytes of %d", version, len(desired), len(payload))
		}
		if service, err := readObject(change, "service"); err == nil {
			checkWish(t, service)
			merged, err := mergePatch(desired, change, maxDepth)
			if err != nil {
				checkError(t, err)
				return
			}
			again, err := mergePatch(merged, change, maxDepth)
			if err != nil || string(again) != string(merged) || len(merged) > 0 && !json.Valid(merged) {
				t.Fatalf("a patch applied twice: %q, then %q, %v", merged, again, err)
			}
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrMessage) || len(err.Error()) > 300 || strings.Contains(err.Error(), "sig=") {
		t.Fatalf("error without the sentinel, without a bound or with a query: %v", err)
	}
}

func checkWish(t *testing.T, service map[string]json.RawMessage) {
	t.Helper()
	w, err := readWish(service)
	if err != nil {
		checkError(t, err)
		return
	}
	if !idShape.MatchString(w.ID) || len(w.command()) > 2*maxID || len(w.rootKeys) > maxURL || strings.ContainsAny(w.command(), " \n?#") {
		t.Fatalf("wish %+v with the command %q", w, w.command())
	}
}
