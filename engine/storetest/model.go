package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/updraft-ota/updraft/engine"
)

// model is a store as simple as one can be.
type model map[string]*modelRun

type modelRun struct {
	entries []string
	values  map[string]string
}

func (m model) apply(b engine.Batch) bool {
	r := m[b.Run]
	if uint64(len(r.entries)) != b.Expect {
		return false
	}
	for _, e := range b.Append {
		r.entries = append(r.entries, string(e.Bytes))
	}
	for k, v := range b.Put {
		r.values[k] = string(v)
	}
	for _, k := range b.Delete {
		delete(r.values, k)
	}
	return true
}

// testModel applies some thousand operations in batches, some of them stale,
// and opens the store again now and then.
func testModel(t *testing.T, p *probe) {
	random := rand.New(rand.NewPCG(1, 2))
	m := model{}
	names := []string{"a", "ab", "b.1"}
	for _, n := range names {
		m[n] = &modelRun{values: map[string]string{}}
	}
	operations := 4000
	if testing.Short() {
		operations = 1000
	}
	for operations > 0 {
		b := randomBatch(random, m, names[random.IntN(len(names))])
		operations -= len(b.Append) + len(b.Put) + len(b.Delete) + 1
		fits := m.apply(b)
		err := p.Apply(p.ctx, b)
		if fits && err != nil || !fits && !errors.Is(err, engine.ErrMoved) {
			t.Fatalf("apply = %v, the model says that it fits: %v", err, fits)
		}
		if random.IntN(40) == 0 {
			p.compare(m)
		}
		if random.IntN(100) == 0 {
			p.reopen()
		}
	}
	p.reopen()
	p.compare(m)
}

func randomBatch(random *rand.Rand, m model, run string) engine.Batch {
	b := engine.Batch{Run: run, Expect: uint64(len(m[run].entries)), Put: map[string][]byte{}}
	if random.IntN(10) == 0 {
		b.Expect = max(b.Expect, 1) - 1 + uint64(random.IntN(3))
	}
	for i := range random.IntN(4) {
		b.Append = append(b.Append, engine.Entry{Seq: b.Expect + uint64(i), Bytes: randomBytes(random)})
	}
	for range random.IntN(4) {
		b.Put[fmt.Sprint("k", random.IntN(8))] = randomBytes(random)
	}
	for range random.IntN(2) {
		k := fmt.Sprint("k", random.IntN(8))
		if _, ok := b.Put[k]; !ok {
			b.Delete = append(b.Delete, k)
		}
	}
	return b
}

func randomBytes(random *rand.Rand) []byte {
	sizes := []int{0, 1, 30, 300, 3000}
	p := make([]byte, random.IntN(sizes[random.IntN(len(sizes))]+1))
	for i := range p {
		p[i] = byte(random.Uint32())
	}
	return p
}

func (p *probe) compare(m model) {
	p.t.Helper()
	for run, r := range m {
		log, err := p.Load(p.ctx, run)
		if err != nil {
			p.t.Fatalf("load %s: %v", run, err)
		}
		if got, want := Text(log), text(r.entries, r.values); got != want {
			p.t.Fatalf("run %s:\n got %s\nwant %s", run, got, want)
		}
	}
}
