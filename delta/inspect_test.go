package delta

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestInspect(t *testing.T) {
	old, upd := pair(200_000)
	var patch bytes.Buffer
	stats, err := Make(t.Context(), lookup(t, "udelta"), &patch, section(old), section(upd), Options{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(bytes.NewReader(patch.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if info.OldSHA256 != sha256.Sum256(old) || info.NewSHA256 != sha256.Sum256(upd) || info.Identical || info.Version != "1.0" {
		t.Errorf("%+v", info)
	}
	got := Stats{OldSize: info.OldSize, NewSize: info.NewSize, PatchSize: info.PatchSize, Memory: info.Memory, Frames: info.Frames, Ops: info.Ops}
	want := stats
	want.Streams = nil
	if got.OldSize != want.OldSize || got.NewSize != want.NewSize || got.PatchSize != want.PatchSize || got.Memory != want.Memory ||
		got.Frames != want.Frames || got.Ops != want.Ops || !slices.Equal(info.Streams, stats.Streams) {
		t.Errorf("Inspect: %+v %v, Make: %+v", got, info.Streams, stats)
	}
	literals := stats.Streams[udeltaLiterals]
	if literals.Name != "literals" || literals.Raw == 0 || stats.Frames == 0 || stats.Ops == 0 {
		t.Errorf("%+v", stats)
	}
	if _, err := Inspect(bytes.NewReader([]byte("BSDIFF40, and more of it"))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another format: %v, want ErrCorrupt", err)
	}
}

// TestUdeltaMapped makes the same patch from files, whole and in part, as from
// bytes in memory.
func TestUdeltaMapped(t *testing.T) {
	old, upd := pair(50_000)
	f := lookup(t, "udelta")
	want := mustMake(t, f, old, upd, Default)
	file := func(b []byte) *os.File {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		open, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { open.Close() })
		return open
	}
	for _, before := range []int{0, 1, 5000} {
		oldFile := file(append(append(make([]byte, before), old...), "and more"...))
		updFile := file(append(make([]byte, before), upd...))
		var patch bytes.Buffer
		_, err := Make(t.Context(), f, &patch, io.NewSectionReader(oldFile, int64(before), int64(len(old))),
			io.NewSectionReader(updFile, int64(before), int64(len(upd))), Options{})
		if err != nil || !bytes.Equal(patch.Bytes(), want) {
			t.Errorf("from byte %d: a patch of %d bytes, %v, want the same %d", before, patch.Len(), err, len(want))
		}
		_, err = Make(t.Context(), f, io.Discard, io.NewSectionReader(oldFile, 0, 1<<20), section(upd), Options{})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a section longer than its file: %v, want io.ErrUnexpectedEOF", err)
		}
	}
}
