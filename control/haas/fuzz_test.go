package haas

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
		p, err := readPush(payload, "8800100099990000")
		if err != nil {
			if !errors.Is(err, ErrMessage) || len(err.Error()) > 300 || strings.Contains(err.Error(), "?") {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(p.id) > 64 || len(p.trace) > 70 {
			t.Fatalf("push %+v", p)
		}
		if p.app == nil {
			return
		}
		if err := p.app.check(); err != nil {
			if !errors.Is(err, ErrMessage) || len(err.Error()) > 400 || strings.Contains(err.Error(), "?") {
				t.Fatalf("error %v", err)
			}
			return
		}
		if _, err := ParseVersion(p.app.version); err != nil || !strings.HasPrefix(strings.ToLower(p.app.url), "http") || len(p.app.md5) != 0 && len(p.app.md5) != 32 || p.app.size < -1 {
			t.Fatalf("app %+v", *p.app)
		}
		have := strings.Join(Inputs(), " ")
		for name := range p.app.inputs() {
			if !strings.Contains(have, name) {
				t.Fatalf("input %q is none of %s", name, have)
			}
		}
	})
}
