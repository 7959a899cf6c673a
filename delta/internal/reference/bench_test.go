package reference

import (
	"bytes"
	"encoding/gob"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

// BenchmarkDecode measures on UPDRAFT_PAIR, a folder with old and new.
func BenchmarkDecode(b *testing.B) {
	dir := os.Getenv("UPDRAFT_PAIR")
	if dir == "" {
		b.Skip("UPDRAFT_PAIR is not set")
	}
	old, err := os.ReadFile(filepath.Join(dir, "old"))
	if err != nil {
		b.Fatal(err)
	}
	new, err := os.ReadFile(filepath.Join(dir, "new"))
	if err != nil {
		b.Fatal(err)
	}
	e, n := parse(b, old), parse(b, new)
	copies := secondCopies(b, e, n, old, new)
	l, m, _ := layoutOf(b, e, n, copies)
	f, err := os.Open(filepath.Join(dir, "old"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	c := newCopier(e, l, m, f)
	enc := coder.NewEncoder()
	got := make([]byte, len(new))
	for _, x := range copies {
		if err := Encode(c, got[x.New:x.New+x.Length], new[x.New:x.New+x.Length], x, 0, enc); err != nil {
			b.Fatal(err)
		}
	}
	stream := enc.Finish()
	b.SetBytes(int64(len(new)))
	start := cpuTicks()
	for b.Loop() {
		c.Reset()
		dec := coder.NewDecoder(stream)
		for _, x := range copies {
			if err := c.Decode(got[x.New:x.New+x.Length], x, 0, dec); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(stream)), "stream-bytes")
	if ticks := cpuTicks() - start; ticks > 0 {
		b.ReportMetric(float64(ticks)/100/float64(b.N), "cpu-s/op")
		b.ReportMetric(float64(len(new))*float64(b.N)/1e4/float64(ticks), "MB/cpu-s")
	}
}

// cpuTicks is the time that this process has computed, in hundredths of a
// second, which other programs on the same machine falsify less than the time
// that has passed. It is 0 where the system does not tell.
func cpuTicks() int64 {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return user + system
}

// secondCopies gives the copies of two passes. What they were is kept beside
// the pair, because looking for them takes most of the time.
func secondCopies(b testing.TB, e, n *Element, old, new []byte) []Copy {
	b.Helper()
	kept := os.Getenv("UPDRAFT_COPIES")
	var copies []Copy
	if f, err := os.ReadFile(kept); kept != "" && err == nil {
		if err := gob.NewDecoder(bytes.NewReader(f)).Decode(&copies); err != nil {
			b.Fatal(err)
		}
		return copies
	}
	l, m, _ := layoutOf(b, e, n, simpleCopies(old, new))
	x, y := make([]byte, len(old)), make([]byte, len(new))
	Absolute(e, x, old, 0, int64(len(old)), &Forecast{l, m, NewNumbering(e, old, n, new)})
	Absolute(n, y, new, 0, int64(len(new)), nil)
	copies = simpleCopies(x, y)
	if kept != "" {
		var w bytes.Buffer
		if err := gob.NewEncoder(&w).Encode(copies); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(kept, w.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return slices.Clip(copies)
}
