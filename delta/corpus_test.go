package delta

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCorpus makes and applies patches between pairs of real versions:
// UPDRAFT_CORPUS names a folder with NAME/old and NAME/new, UPDRAFT_PAIRS some
// of the names, UPDRAFT_LEVEL the level.
func TestCorpus(t *testing.T) {
	root := os.Getenv("UPDRAFT_CORPUS")
	if root == "" {
		t.Skip("UPDRAFT_CORPUS is not set")
	}
	only := strings.Fields(os.Getenv("UPDRAFT_PAIRS"))
	dirs, _ := filepath.Glob(filepath.Join(root, "*", "old"))
	for _, dir := range dirs {
		dir = filepath.Dir(dir)
		if len(only) == 0 || slices.Contains(only, filepath.Base(dir)) {
			t.Run(filepath.Base(dir), func(t *testing.T) { corpusPair(t, dir) })
		}
	}
}

func corpusPair(t *testing.T, dir string) {
	open := func(name string) *io.SectionReader {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return io.NewSectionReader(f, 0, info.Size())
	}
	old, upd := open("old"), open("new")
	f := lookup(t, "udelta")
	var patch bytes.Buffer
	began := time.Now()
	stats, err := Make(t.Context(), f, &patch, old, upd, Options{Level: Level(os.Getenv("UPDRAFT_LEVEL")), Solid: os.Getenv("UPDRAFT_SOLID") != ""})
	if err != nil {
		t.Fatal(err)
	}
	made := time.Since(began)
	began = time.Now()
	r, err := f.NewReader(t.Context(), old, old.Size(), bytes.NewReader(patch.Bytes()), Limits{Size: upd.Size()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	info, err := Inspect(bytes.NewReader(patch.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, made in %.1f s, applied in %.2f s, %.1f MiB to apply; %d copies, %d frames, %d regions, %d elements of %d bytes", stats.PatchSize,
		made.Seconds(), time.Since(began).Seconds(), float64(stats.Memory)/(1<<20), stats.Ops, stats.Frames, stats.Regions, stats.Elements, stats.ElementBytes)
	if stats.SolidSize > 0 {
		t.Logf("  solid %d bytes: frames cost %.2f %%", stats.SolidSize, 100*(float64(stats.PatchSize)/float64(stats.SolidSize)-1))
	}
	for _, s := range info.Streams {
		t.Logf("  %-14s %9d raw %9d coded", s.Name, s.Raw, s.Coded)
	}
}
