package reference

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

var kindNames = [kinds]string{"Near32", "Data32", "Branch26", "Page21", "Wide32", "Word", "ConstWord", "Site", "DebugWord", "Symbol", "Table32",
	"Switch32", "Frame32", "Down32", "Back32", "Base32", "Name", "Offset", "Offset4", "Offset24", "Section64", "TypeName", "OuterName", "TypeID", "Inline", "GoName", "GoType",
	"Branch24", "BranchThumb", "Pool32", "Move32", "MoveNear32", "Word32", "ConstWord32", "Site32", "Symbol32", "Table31", "Item16", "Section32",
	"Jump20", "Pair32", "Page12", "Branch12", "Short16", "Load12", "Listed24", "WideSite"}

// TestCorpus measures on pairs of real versions: UPDRAFT_CORPUS names a folder
// with NAME/old and NAME/new.
func TestCorpus(t *testing.T) {
	root := os.Getenv("UPDRAFT_CORPUS")
	if root == "" {
		t.Skip("UPDRAFT_CORPUS is not set")
	}
	names, _ := filepath.Glob(filepath.Join(root, "*", "old"))
	for _, name := range names {
		dir := filepath.Dir(name)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			old, err := os.ReadFile(filepath.Join(dir, "old"))
			if err != nil {
				t.Fatal(err)
			}
			new, err := os.ReadFile(filepath.Join(dir, "new"))
			if err != nil {
				t.Fatal(err)
			}
			measure(t, old, new)
		})
	}
}

func parse(t testing.TB, b []byte) *Element {
	t.Helper()
	e, ok := Parse(bytes.NewReader(b), int64(len(b)))
	if !ok {
		t.Skip("not an executable that is understood")
	}
	return e
}

func measure(t *testing.T, old, new []byte) {
	t0 := time.Now()
	e, n := parse(t, old), parse(t, new)
	t1 := time.Now()
	copies := secondCopies(t, e, n, old, new)
	l, m, size := layoutOf(t, e, n, copies)
	t.Logf("parse %.3f s; %d copies, %d parts of map, %d bytes of layout", t1.Sub(t0).Seconds(), len(copies), m.Parts(), size)
	c := newCopier(e, l, m, bytes.NewReader(old))
	count(t, c, old, new, copies)
	c.Reset()
	enc := coder.NewEncoder()
	got := make([]byte, len(new))
	t4 := time.Now()
	for _, x := range copies {
		if err := Encode(c, got[x.New:x.New+x.Length], new[x.New:x.New+x.Length], x, 0, enc); err != nil {
			t.Fatal(err)
		}
	}
	t5 := time.Now()
	plain, left, literals := 0, 0, len(new)
	for _, x := range copies {
		literals -= int(x.Length)
		for i := range x.Length {
			if old[x.Old+i] != new[x.New+i] {
				plain++
			}
			if got[x.New+i] != new[x.New+i] {
				left++
			}
		}
	}
	stream := enc.Finish()
	t.Logf("encode %.3f s; stream %d bytes; wrong bytes in copies: plain %d, left %d; literals %d", t5.Sub(t4).Seconds(), len(stream), plain, left, literals)
	residue(t, e, copies, got, new)
	c.Reset()
	price := meter{model: c.model}
	for _, x := range copies {
		if err := c.run(got[x.New:x.New+x.Length], new[x.New:x.New+x.Length], x, 0, &price); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range price.cost {
		if v > 0 {
			t.Logf("  %-10s %8.0f bytes", kindNames[k], v/8)
		}
	}
	c.Reset()
	dec := coder.NewDecoder(stream)
	again := make([]byte, len(new))
	t6 := time.Now()
	for _, x := range copies {
		if err := c.Decode(again[x.New:x.New+x.Length], x, 0, dec); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("decode %.3f s", time.Since(t6).Seconds())
	if err := dec.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, again) {
		t.Error("decoder differs from encoder")
	}
}

func layoutOf(t testing.TB, e, n *Element, copies []Copy) (*Layout, *Map, int) {
	t.Helper()
	m, err := NewMap(slices.Values(copies), e.size)
	if err != nil {
		t.Fatal(err)
	}
	record := AppendLayout(nil, e, n, m)
	l, err := e.ReadLayout(record, m)
	if err != nil {
		t.Fatal(err)
	}
	return l, m, len(record)
}

// count says for each kind how often old bytes and forecasts are right.
func count(t *testing.T, c *Copier, old, new []byte, copies []Copy) {
	var n [kinds][4]int
	var fields []Field
	for _, x := range copies {
		c.in = x
		fields = c.guide.e.Scan(fields[:0], old, 0, x.Old, x.Old+x.Length)
		for _, f := range fields {
			if f.Off+f.size() > x.Old+x.Length {
				continue
			}
			at := f.Off - x.Old + x.New
			from, ok := c.guide.from(f)
			to, more := c.guide.to(f, x)
			if !ok || !more {
				continue
			}
			o, nw := old[f.Off:], new[at:]
			actual := f.value(nw, o, to)
			v, ok := c.guide.move(f.Kind, f.value(o, o, from), x)
			w := slices.Clone(o[:f.size()])
			if ok {
				f.set(w, o, to, v)
			}
			n[f.Kind][one(f.value(o, o, to) == actual)*2+one(f.value(w, o, to) == actual)]++
		}
	}
	var sum [4]int
	for k, x := range n {
		if x != [4]int{} {
			t.Logf("  %-10s both wrong %7d, forecast right alone %7d, old right alone %7d, both right %7d", kindNames[k], x[0], x[1], x[2], x[3])
		}
		for i := range sum {
			sum[i] += x[i]
		}
	}
	all := float64(sum[0] + sum[1] + sum[2] + sum[3])
	t.Logf("references in copies %.0f, old bytes right %.1f %%, forecast right %.1f %%", all, 100*float64(sum[2]+sum[3])/all, 100*float64(sum[1]+sum[3])/all)
}

// show prints some places with wrong bytes in one section.
func show(t *testing.T, e *Element, copies []Copy, got, new []byte, name string) {
	s, _ := e.section(name)
	n := 0
	for _, x := range copies {
		for i := int64(0); i < x.Length; i++ {
			o := x.Old + i
			if o < s.off || o >= s.off+s.size || got[x.New+i] == new[x.New+i] {
				continue
			}
			if n++; n%37 == 0 {
				lo, hi := max(x.New, x.New+i-24), min(x.New+i+16, x.New+x.Length)
				t.Logf("%x (section+%x) copy %x+%x\n  %x | %x\n  %x | %x", o, o-s.off, x.Old, x.Length, got[lo:x.New+i], got[x.New+i:hi], new[lo:x.New+i], new[x.New+i:hi])
			}
			i += 16
		}
	}
}

// meter adds up what is coded, in bits by kind.
type meter struct {
	model *model
	kind  Kind
	cost  [kinds]float64
}

func (m *meter) bit(p *coder.Prob, v bool) bool {
	for k := range m.model.lessons {
		if f := &m.model.lessons[k].first; uintptr(unsafe.Pointer(p))-uintptr(unsafe.Pointer(f)) < unsafe.Sizeof(*f) {
			m.kind = Kind(k)
		}
	}
	m.cost[m.kind] += float64(p.Cost(one(v))) / coder.CostUnit
	coder.NewEncoder().Bit(p, one(v))
	return v
}

func (m *meter) number(n *coder.Number, v uint64) uint64 {
	m.cost[m.kind] += float64(n.Cost(v)) / coder.CostUnit
	n.Encode(coder.NewEncoder(), v)
	return v
}

// residue says in which parts of old the wrong bytes are.
func residue(t *testing.T, e *Element, copies []Copy, got, new []byte) {
	sum := map[string]int{}
	for _, x := range copies {
		for i := range x.Length {
			if got[x.New+i] == new[x.New+i] {
				continue
			}
			name := "none"
			for _, s := range e.sections {
				if o := x.Old + i; s.off > 0 && o >= s.off && o < s.off+s.size {
					name = s.name
				}
			}
			if j := e.regionAt(x.Old + i); j < len(e.regions) && e.regions[j].lo <= x.Old+i {
				name += fmt.Sprintf("/%d", e.regions[j].form)
			}
			sum[name]++
		}
	}
	if want := os.Getenv("UPDRAFT_SHOW"); want != "" {
		show(t, e, copies, got, new, want)
	}
	keys := make([]string, 0, len(sum))
	for k := range sum {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return sum[b] - sum[a] })
	for _, k := range keys[:min(8, len(keys))] {
		t.Logf("  wrong bytes left in %-24s %d", k, sum[k])
	}
}
