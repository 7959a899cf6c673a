package aliyunota

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// seeds are the payloads of all conversations.
func seeds(f *testing.F) {
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
}

// FuzzDecode holds the decoder to what the rest relies on: a result within
// its limits, or ErrMessage without a word of the message's query.
func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		w, err := readUpgrade(payload)
		if err != nil {
			if !errors.Is(err, ErrMessage) || len(err.Error()) > 300 || strings.Contains(err.Error(), "?") {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !w.pending {
			return
		}
		if w.module == "" || w.version == "" || len(w.module) > 64 || len(w.version) > 64 || len(w.id) > 64 || len(w.files) > maxFiles || len(w.files) == 0 && !w.streamed {
			t.Fatalf("upgrade %+v", w)
		}
		for _, x := range w.files {
			if !strings.HasPrefix(strings.ToLower(x.url), "http") || len(x.url) > 4096 || len(x.md5) != 0 && len(x.md5) != 32 || len(x.sha256) != 0 && len(x.sha256) != 64 || x.size < -1 {
				t.Fatalf("file %+v", x)
			}
		}
		if key := w.key(); strings.ContainsAny(key, " /?#\n") || len(key) > 500 {
			t.Fatalf("key %q", key)
		}
		have := strings.Join(Inputs(), " ")
		for name := range w.inputs() {
			if !strings.Contains(have, name) {
				t.Fatalf("input %q is none of %s", name, have)
			}
		}
	})
}
