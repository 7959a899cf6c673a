package hawkbit

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDecode holds the decoders to what the rest relies on: a result within
// its limits, or ErrMessage in few words, and no link that leads away.
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
		var doc strings.Builder
		for row := range strings.Lines(string(text)) {
			if strings.HasPrefix(row, "      ") {
				doc.WriteString(row)
			} else if doc.Len() > 0 {
				f.Add([]byte(doc.String()))
				doc.Reset()
			}
		}
	}
	const base = "https://hawkbit.example/DEFAULT/controller/v1/gw-1"
	c := Config{URL: "https://hawkbit.example", Device: "gw-1"}
	f.Fuzz(func(t *testing.T, payload []byte) {
		l, sleep, err := readBase(payload, base)
		known(t, err)
		if sleep != 0 && (sleep < minSleep || sleep > maxSleep) {
			t.Fatalf("sleep of %v", sleep)
		}
		for _, link := range []string{l.cancel, l.config, l.confirmation, l.deployment} {
			if link != "" && (!c.Ours(link) || !strings.HasPrefix(link, base+"/")) {
				t.Fatalf("follows %q", link)
			}
		}
		if stop, err := readCancel(payload); err == nil && !actionID.MatchString(stop) {
			t.Fatalf("stops %q", stop)
		} else {
			known(t, err)
		}
		for _, member := range []string{"deployment", "confirmation"} {
			d, err := readDeployment(payload, member, "12", true)
			known(t, err)
			if err == nil {
				checkDeployment(t, c, d)
			}
		}
	})
}

func known(t *testing.T, err error) {
	t.Helper()
	if err != nil && (!errors.Is(err, ErrMessage) || len(err.Error()) > 2000) {
		t.Fatalf("an error without the sentinel, or of %d bytes: %.300v", len(err.Error()), err)
	}
}

func checkDeployment(t *testing.T, c Config, d deployment) {
	t.Helper()
	if len(d.files) > maxFiles {
		t.Fatalf("%d files", len(d.files))
	}
	for _, f := range d.files {
		u, err := url.Parse(f.url)
		if err != nil || u.User != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			t.Fatalf("file with the address %q", f.url)
		}
		if f.name == "" || len(f.name) > 256 || strings.ContainsAny(f.name+f.version+f.module+f.part, "\n\r\x00") {
			t.Fatalf("file %+v", f)
		}
	}
	in, err := c.inputs(d)
	if err != nil && !errors.Is(err, errChoice) {
		t.Fatalf("error without the sentinel: %v", err)
	}
	if err == nil && in["url"] == "" {
		t.Fatalf("inputs without an address: %v", in)
	}
}
