package azurehub

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDecode holds the decoders to what the rest relies on: a result within
// its limits, or ErrMessage in few words.
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
			if row = strings.TrimSpace(row); strings.HasPrefix(row, "{") || strings.HasPrefix(row, `"`) {
				f.Add("$iothub/methods/POST/firmwareUpdate/?$rid=1", []byte(row))
			}
		}
	}
	f.Add("$iothub/twin/res/204/?$rid=7&$version=3", []byte(""))
	f.Add("$iothub/twin/PATCH/properties/desired/?$version=3", []byte(""))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		if got, err := readTopic(topic); err != nil {
			checkError(t, err)
		} else if strings.ContainsAny(got.request, "+# \x00") || len(got.request) > maxRequest || got.version < 0 {
			t.Fatalf("topic %q reads as %+v", topic, got)
		}
		if o, err := readCall(payload, "https"); err != nil {
			checkError(t, err)
		} else {
			checkOrder(t, o)
		}
		if _, _, version, err := readTwin(payload); err != nil {
			checkError(t, err)
		} else if version < 1 {
			t.Fatalf("a twin of version %d", version)
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrMessage) || len(err.Error()) > 200 {
		t.Fatalf("error without the sentinel, or of many words: %v", err)
	}
}

func checkOrder(t *testing.T, o order) {
	t.Helper()
	id, err := identity(o.url)
	if err != nil || strings.ContainsAny(id, "?# \n") {
		t.Fatalf("identity of %q is %q, %v", o.url, id, err)
	}
	// Escaping may make an identity longer than its URL was.
	if again, err := identity(id); len(id) <= maxURL && (err != nil || again != id) {
		t.Fatalf("identity of identity %q is %q, %v", id, again, err)
	}
	if len(o.inputs()["url"]) == 0 || len(o.version) > maxVersion || len(o.check) > maxCheck {
		t.Fatalf("order %+v", o)
	}
}
