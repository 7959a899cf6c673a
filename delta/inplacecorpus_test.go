package delta

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/delta/internal/match"
)

// TestInPlaceCorpus compares patches with ordinary ones without references. It
// wants UPDRAFT_CORPUS, a folder of pairs NAME/old and NAME/new, and takes
// names from UPDRAFT_PAIRS and the size of the journal from UPDRAFT_JOURNAL.
func TestInPlaceCorpus(t *testing.T) {
	dir := os.Getenv("UPDRAFT_CORPUS")
	if dir == "" {
		t.Skip("UPDRAFT_CORPUS is not set")
	}
	var o InPlaceOptions
	fmt.Sscan(os.Getenv("UPDRAFT_JOURNAL"), &o.Journal)
	for _, name := range strings.Fields(os.Getenv("UPDRAFT_PAIRS")) {
		old, err := os.ReadFile(filepath.Join(dir, name, "old"))
		if err != nil {
			t.Fatal(err)
		}
		new, err := os.ReadFile(filepath.Join(dir, name, "new"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		patch := makeInPlacePatch(t, old, new, o)
		made := time.Since(start)
		start = time.Now()
		plain := plainSize(t, old, new)
		plainly := time.Since(start)
		info, err := InspectInPlace(bytes.NewReader(patch))
		if err != nil {
			t.Fatal(err)
		}
		d := slot(t, old)
		start = time.Now()
		if err := update(t, d, patch, Limits{Size: int64(len(new))}); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: in place %d, ordinary without references %d, ratio %.3f; %d batches, %d of %d bytes made, journal %d, memory %d; made in %v (ordinary %v), applied in %v",
			name, len(patch), plain, float64(len(patch))/float64(plain), info.Batches, info.Written, info.NewSize, info.Journal, info.Memory, made, plainly, time.Since(start))
	}
}

// plainSize is the size of an ordinary patch without references.
func plainSize(t *testing.T, old, new []byte) int64 {
	t.Helper()
	level := udeltaLevels[Default]
	m := &udeltaMaker{old: old, new: new, level: level, dst: io.Discard}
	m.header = udeltaHeader{minor: udeltaMinor, oldSize: int64(len(old)), newSize: int64(len(new))}
	var err error
	if m.copies, err = match.Find(context.Background(), old, new, match.Options{Level: level.match}); err == nil {
		err = m.patch(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.stats.PatchSize
}
