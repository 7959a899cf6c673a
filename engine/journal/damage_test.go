package journal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
	"github.com/updraft-ota/updraft/engine/storetest"
)

// sweepAll makes the sweeps flip every byte instead of a slice of them.
const sweepAll = "UPDRAFT_DAMAGE_ALL"

// record is an entry with its own number and checksum, as the engine's are.
func record(n int) []byte {
	p := fmt.Appendf(nil, `{"seq":%d,"kind":"done","step":"write-%d","digest":"%064x"}`, n, n%7, n)
	return binary.BigEndian.AppendUint32(p, crc32.ChecksumIEEE(p))
}

// batch number n: one record, two with every fifth, and the checkpoint.
func batch(n int) engine.Batch {
	b := engine.Batch{Run: "run-1", Expect: uint64(n + n/5), Put: map[string][]byte{}}
	for range 1 + (n%5)/4 {
		seq := int(b.Expect) + len(b.Append)
		b.Append = append(b.Append, engine.Entry{Seq: uint64(seq), Bytes: record(seq)})
	}
	b.Put["checkpoint"] = fmt.Appendf(nil, "%d MiB, state %032x", n, n)
	if n%9 == 8 {
		b.Put["outbox"] = []byte("report " + fmt.Sprint(n))
	} else if n%9 == 0 {
		b.Delete = []string{"outbox"}
	}
	return b
}

// states are what the run looks like after 0, 1, … n batches.
func states(t *testing.T, n int) []string {
	t.Helper()
	m := engine.NewMemory()
	var texts []string
	for i := range n + 1 {
		log, err := m.Load(t.Context(), "run-1")
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, storetest.Text(log))
		if err := m.Apply(t.Context(), batch(i)); err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// build makes a store of so many batches; after each number in closed it is
// closed and opened again. It is a copy of one that is open, as a kill leaves
// it, unless the last number is in closed.
func build(t *testing.T, batches int, closed ...int) string {
	t.Helper()
	dir := filepath.Join(memory(t), "journal")
	s, err := journal.Open(dir, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range batches {
		if err := s.Apply(t.Context(), batch(n)); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(closed, n+1) {
			continue
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n+1 == batches {
			return dir
		}
		if s, err = journal.Open(dir, journal.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	killed := filepath.Join(memory(t), "killed")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return killed
}

// memory gives a folder in memory if the machine has one: a sweep opens
// thousands of stores, and syncing them shows nothing.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "updraft-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDamage flips bytes and cuts files, opens, loads, and holds the outcome
// to what the package promises: everything, an error, or the loss of the last
// batch. A cut of a log at the end of a batch can lose more.
func TestDamage(t *testing.T) {
	const batches = 24
	want := states(t, batches)
	for _, tt := range []struct {
		name   string
		closed []int
	}{
		{"closed", []int{batches}},
		{"killed in its first log", nil},
		{"killed with a table and a log", []int{batches / 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := storetest.Damager{Dir: build(t, batches, tt.closed...), Scratch: memory(t), Every: 7, Cuts: ends}
			d.Skip = func(name string) bool { return strings.HasPrefix(name, "journal.") }
			if os.Getenv(sweepAll) != "" {
				d.Every = 1
			}
			if testing.Short() {
				d.Every = 41
			}
			tally := map[string]int{}
			err := d.Damage(func(dir, what string) error {
				outcome, err := judge(t, dir, what, want)
				file, _, _ := strings.Cut(what, ":")
				tally[filepath.Ext("x"+file)+" "+file+": "+outcome]++
				return err
			})
			if err != nil {
				t.Error(err)
			}
			for _, k := range slices.Sorted(maps.Keys(tally)) {
				t.Logf("%6d %s", tally[k], k)
			}
		})
	}
}

// ends are the ends of Badger's records in a log: behind each transaction's
// last record, and a few bytes before.
func ends(name string, data []byte) (sizes []int) {
	if filepath.Ext(name) != ".mem" && name != "MANIFEST" {
		return nil
	}
	for at := range data {
		if strings.HasPrefix(string(data[at:]), "!badger!txn") {
			for _, past := range []int{-5, 0, 11, 19, 20, 21, 22, 23, 24, 25, 26} {
				sizes = append(sizes, at+past)
			}
		}
	}
	if name == "MANIFEST" {
		for at := range data {
			sizes = append(sizes, at)
		}
	}
	return sizes
}

// judge opens and loads a damaged copy and says what became of it.
func judge(t *testing.T, dir, what string, want []string) (string, error) {
	type result struct {
		outcome string
		err     error
	}
	done := make(chan result, 1)
	go func() {
		outcome, err := look(t, dir, want)
		done <- result{outcome, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return r.outcome, r.err
		}
		lost := 0
		_, _ = fmt.Sscanf(r.outcome, "lost %d", &lost)
		if lost > 1 && !strings.Contains(what, "cut") {
			return r.outcome, fmt.Errorf("lost %d batches in silence", lost)
		}
		return r.outcome, nil
	case <-time.After(2 * time.Second):
		return "hang", errors.New("no end after 2 s")
	}
}

func look(t *testing.T, dir string, want []string) (string, error) {
	s, err := journal.Open(dir, journal.Options{})
	if errors.Is(err, engine.ErrStore) {
		return "refused by Open", nil
	}
	if err != nil {
		return "", err
	}
	defer s.Close() //nolint:errcheck // the copy is thrown away
	log, err := s.Load(t.Context(), "run-1")
	if errors.Is(err, engine.ErrStore) {
		return "refused by Load", nil
	}
	if err != nil {
		return "", err
	}
	got := storetest.Text(log)
	for lost := range want {
		if n := len(want) - 1 - lost; want[n] == got {
			if lost == 0 {
				return "unaffected", nil
			}
			return fmt.Sprintf("lost %2d batches", lost), nil
		}
	}
	return "", fmt.Errorf("the run is none that ever was: %s", got)
}
