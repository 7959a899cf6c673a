package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/delta"
)

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// TestRun applies a patch both ways, and refuses another old file.
func TestRun(t *testing.T) {
	old := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	upd := append(bytes.Clone(old[100_000:]), "and more"...)
	format, err := delta.Lookup("udelta")
	if err != nil {
		t.Fatal(err)
	}
	var patch bytes.Buffer
	if _, err := delta.Make(context.Background(), format, &patch, section(old), section(upd), delta.Options{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{filepath.Join(dir, "old"), filepath.Join(dir, "patch"), filepath.Join(dir, "new")}
	for i, b := range [][]byte{old, patch.Bytes()} {
		if err := os.WriteFile(args[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, low := range []bool{false, true} {
		if err := run(low, args); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(args[2]); err != nil || !bytes.Equal(got, upd) {
			t.Errorf("low %v: the new file is wrong (%d bytes, %v)", low, len(got), err)
		}
	}
	if err := run(false, []string{args[1], args[1], args[2]}); err == nil {
		t.Error("another old file is taken")
	}
	if err := run(false, args[:2]); err == nil {
		t.Error("two arguments are taken")
	}
}
