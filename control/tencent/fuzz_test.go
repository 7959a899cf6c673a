package tencent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// FuzzDecode holds the decoders to what the rest relies on: a result within
// its limits, or ErrMessage without a word of a query.
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
			if row = strings.TrimSpace(row); strings.HasPrefix(row, `{"`) {
				f.Add([]byte(row))
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if shown := redact(string(payload), 100); len(shown) > 100 || strings.ContainsAny(shown, "?\n") || strings.ContainsFunc(shown, unicode.IsControl) {
			t.Fatalf("shown as %q", shown)
		}
		_, doc, err := readType(payload)
		checkError(t, err)
		if err != nil {
			return
		}
		_, err = readAnswer(doc)
		checkError(t, err)
		p, err := readPush(doc)
		checkError(t, err)
		if p.version != "" && checkVersion(p.version) != nil {
			t.Fatalf("version %q", p.version)
		}
		if err == nil && (checkURL(p.url) != nil || len(p.md5)%32 != 0 || strings.HasPrefix(p.size, "-")) {
			t.Fatalf("accepted: %+v", p)
		}
		if version, attempt, ok := readID(p.version + "#7"); err == nil && (!ok || version != p.version || attempt != 7) {
			t.Fatalf("the id of version %q reads as %q, %d", p.version, version, attempt)
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if !errors.Is(err, ErrMessage) || len(err.Error()) > 300 || strings.Contains(err.Error(), "s3cr3t") {
		t.Fatalf("error %v", err)
	}
}
