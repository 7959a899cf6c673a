package inplace

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/delta/internal/match"
)

// TestCorpus tells what the order of real pairs loses. It wants UPDRAFT_CORPUS,
// a folder of pairs NAME/old and NAME/new, and takes names from UPDRAFT_PAIRS.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("UPDRAFT_CORPUS")
	if dir == "" {
		t.Skip("UPDRAFT_CORPUS is not set")
	}
	for _, name := range strings.Fields(os.Getenv("UPDRAFT_PAIRS")) {
		old, new := readFile(t, dir, name, "old"), readFile(t, dir, name, "new")
		copies, err := match.Find(context.Background(), old, new, match.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range []int64{4 << 10, 16 << 10, 64 << 10} {
			for _, batch := range []int64{1 << 20, 4 << 20, 8 << 20} {
				s := Shape{Size: int64(len(new)), Block: block, Batch: batch / block}
				start := time.Now()
				p, err := Order(context.Background(), copies, s, unchanged(pair{old: old, new: new}, block))
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(start)
				if p.Lost > p.Copied {
					t.Errorf("%d of %d bytes lost", p.Lost, p.Copied)
				}
				t.Logf("%-14s block %3d K batch %2d M: copies %d -> %d, %d batches, %d runs, lost %d moved %d of %d, %v",
					name, block>>10, batch>>20, len(copies), p.Pieces, len(p.Batches), p.Runs, p.Lost, p.Moved, p.Copied, took)
			}
		}
	}
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
