package delta

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/match"
)

func (m *udeltaMaker) scratchSize() int {
	p := udeltaPlanner{m: m, to: int64(len(m.new)), limit: 1 << m.header.caps.Raw}
	n := 0
	for p.at < p.to {
		for _, c := range m.code(p.frame()) {
			n += len(c.body) + 8
		}
	}
	return n
}

func TestScratch(t *testing.T) {
	if os.Getenv("SCRATCH") == "" {
		t.Skip()
	}
	var ms []*udeltaMaker
	for _, name := range strings.Fields(os.Getenv("UPDRAFT_PAIRS")) {
		old, _ := os.ReadFile(filepath.Join("/tmp/corpus", name, "old"))
		upd, _ := os.ReadFile(filepath.Join("/tmp/corpus", name, "new"))
		if n := 16 << 20; len(upd) > n {
			upd = upd[len(upd)/2 : len(upd)/2+n]
		}
		m := &udeltaMaker{old: old, new: upd, level: udeltaLevels[Default]}
		m.header = udeltaHeader{oldSize: int64(len(m.old)), newSize: int64(len(m.new))}
		m.copies, _ = match.Find(context.Background(), m.old, m.new, match.Options{Level: m.level.match})
		m.header.caps = m.level.capsFor(int64(len(m.new)), m.copies)
		ms = append(ms, m)
	}
	show := func(what string) {
		s := fmt.Sprintf("%-40s", what)
		for _, m := range ms {
			s += fmt.Sprintf(" %9d", m.scratchSize())
		}
		fmt.Println(s)
	}
	show("base")
	base := append([]coder.Kind{}, udeltaModels...)
	udeltaModels[udeltaLiterals] = coder.Kind{LC: 3, Expect: true}
	show("lit expect lc3")
	udeltaModels[udeltaLiterals] = coder.Kind{LC: 2, Expect: true}
	show("lit expect lc2")
	udeltaModels[udeltaLiterals] = coder.Kind{LC: 0, Expect: true}
	show("lit expect lc0")
	udeltaModels[udeltaLiterals] = base[udeltaLiterals]
	udeltaModels[udeltaChanges] = coder.Kind{LC: 3, Expect: true}
	show("changes expect")
	udeltaModels[udeltaChanges] = coder.Kind{LC: 1, Expect: true}
	show("changes expect lc1")
}
