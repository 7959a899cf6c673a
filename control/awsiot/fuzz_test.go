package awsiot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDecode holds the decoders to what the rest relies on: a result within
// its limits, or ErrMessage without a word of the message's query.
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
			if row = strings.TrimSpace(row); strings.HasPrefix(row, "{") || strings.HasPrefix(row, "jobID:") {
				f.Add([]byte(row))
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d, err := readDelta(payload)
		if err != nil && !errors.Is(err, ErrMessage) {
			t.Fatalf("error without the sentinel: %v", err)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Fatalf("an error of %d bytes: %v", len(err.Error()), err)
		}
		if err == nil {
			checkDelta(t, d)
		}
		d, _, err = readDocument(payload)
		if err != nil && (!errors.Is(err, ErrMessage) || len(err.Error()) > 300) {
			t.Fatalf("error without the sentinel, or too long: %v", err)
		}
		if err == nil {
			checkDelta(t, d)
		}
		if _, err := readAnswer(payload); err != nil && !errors.Is(err, ErrMessage) {
			t.Fatalf("error without the sentinel: %v", err)
		}
		r, err := ReadResult(payload)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatalf("error without the sentinel: %v", err)
			}
			return
		}
		if checkID(r.JobID) != nil && !strings.HasPrefix(r.JobID, "http") {
			return // the JSON form repeats what another device wrote
		}
		if again, err := ReadResult(r.text()); err != nil || again != r {
			t.Fatalf("%+v written as text reads as %+v, %v", r, again, err)
		}
	})
}

func checkDelta(t *testing.T, d delta) {
	t.Helper()
	if d.jobID != "" && (strings.ContainsAny(d.jobID, "+#/$ \x00\n") || len(d.jobID) > maxJobID) {
		t.Fatalf("job id %q", d.jobID)
	}
	if d.url == "" {
		return
	}
	id, err := identity(d.url)
	if err != nil || strings.ContainsAny(id, "?#@ \n") && !strings.Contains(d.url[:strings.IndexAny(d.url+"?#", "?#")], "@") {
		t.Fatalf("identity of %q is %q, %v", d.url, id, err)
	}
	if again, err := identity(id); err != nil || again != id {
		t.Fatalf("identity of identity %q is %q, %v", id, again, err)
	}
}
