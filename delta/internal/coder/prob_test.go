package coder

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func TestProbStaysInBounds(t *testing.T) {
	for _, bit := range []int{0, 1} {
		var p Prob
		if p.zero() != 1<<14 {
			t.Fatalf("fresh chance = %d, want %d", p.zero(), 1<<14)
		}
		for range 10_000 {
			p.saw(int32(-bit))
		}
		if want := []uint32{32732, 35}[bit]; p.zero() != want {
			t.Errorf("chance of 0 after ten thousand %ds = %d, want %d", bit, p.zero(), want)
		}
	}
}

func TestCostsAreLogarithms(t *testing.T) {
	for i, got := range costs {
		want := -math.Log2((float64(i)+0.5)/float64(len(costs))) * CostUnit
		if math.Abs(float64(got)-want) > 1.5 {
			t.Errorf("cost of %d/%d = %d, want about %.1f", i, len(costs), got, want)
		}
	}
}

// A sum of costs foretells the size of what is then written.
func TestCostForetellsSize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	e, sum := NewEncoder(), uint64(0)
	var m Number
	var p [16]Prob
	for i := range 20_000 {
		bit := 0
		if r.IntN(16) < i%16 {
			bit = 1
		}
		sum += uint64(p[i%16].Cost(bit))
		e.Bit(&p[i%16], bit)
		v := uint64(r.ExpFloat64() * 1000)
		sum += uint64(m.Cost(v))
		m.Encode(e, v)
	}
	want := float64(sum) / CostUnit / 8
	if got := float64(e.Len()); math.Abs(got-want) > want/200 {
		t.Errorf("coded in %.0f bytes, costs said %.0f", got, want)
	}
}

// decisions is a script that mixes all primitives, drawn from a seed.
func decisions(seed uint64, n int, bit func(p *Prob, bit int), direct func(v uint32, n int), tree func(v uint32), low func(v uint32), number func(v uint64)) {
	r := rand.New(rand.NewPCG(seed, 7))
	var p [4]Prob
	for range n {
		switch r.IntN(6) {
		case 0:
			i := r.IntN(4)
			bit(&p[i], min(r.IntN(1+i*i*i), 1))
		case 1:
			n := r.IntN(33)
			direct(uint32(r.Uint64()&(1<<n-1)), n)
		case 2:
			tree(uint32(r.IntN(r.IntN(64) + 1)))
		case 3:
			low(uint32(r.IntN(r.IntN(64) + 1)))
		default:
			number(r.Uint64() >> (1 + r.IntN(63)))
		}
	}
}

func encodeDecisions(seed uint64, n int) *Encoder {
	e := NewEncoder()
	var tree, low [64]Prob
	var m Number
	decisions(seed, n, e.Bit, e.Direct,
		func(v uint32) { Tree(tree[:]).Encode(e, 6, v) },
		func(v uint32) { Tree(low[:]).EncodeLow(e, 6, v) },
		func(v uint64) { m.Encode(e, v) })
	return e
}

// checkDecisions tells whether src gives exactly the decisions of the seed.
func checkDecisions(src []byte, seed uint64, n int) error {
	d := NewDecoder(src)
	var tree, low [64]Prob
	var m Number
	var err error
	check := func(ok bool) {
		if !ok && err == nil {
			err = errors.New("another decision")
		}
	}
	decisions(seed, n,
		func(p *Prob, bit int) { check(d.Bit(p) == bit) },
		func(v uint32, n int) { check(d.Direct(n) == v) },
		func(v uint32) { check(Tree(tree[:]).Decode(d, 6) == v) },
		func(v uint32) { check(Tree(low[:]).DecodeLow(d, 6) == v) },
		func(v uint64) { check(m.Decode(d) == v) })
	return errors.Join(err, d.Close())
}

func TestDecisionsRoundTrip(t *testing.T) {
	for seed := range uint64(40) {
		n := int(seed * seed)
		e := encodeDecisions(seed, n)
		want := e.Len()
		src := e.Finish()
		if n := int64(len(src)); n != want && n != want+1 {
			t.Errorf("seed %d: %d bytes, Len said %d", seed, len(src), want)
		}
		if err := checkDecisions(src, seed, n); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func TestDecisionsDamaged(t *testing.T) {
	src := encodeDecisions(5, 60).Finish()
	for i := range src {
		if checkDecisions(src[:i], 5, 60) == nil {
			t.Errorf("the first %d of %d bytes are taken for all", i, len(src))
		}
		for bit := range 8 {
			src[i] ^= 1 << bit
			if checkDecisions(src, 5, 60) == nil {
				t.Errorf("bit %d of byte %d flipped, and nobody noticed", bit, i)
			}
			src[i] ^= 1 << bit
		}
	}
	if checkDecisions(append(src, 0), 5, 60) == nil {
		t.Error("a byte too many is not noticed")
	}
}

// A carry must run through a long row of 0xFF bytes.
func TestCarryRunsThrough(t *testing.T) {
	for _, tail := range []uint32{0, 1} {
		e := NewEncoder()
		for range 1000 {
			e.Direct(1<<32-1, 32)
		}
		var p Prob
		for range 50 {
			e.Bit(&p, int(tail))
		}
		e.Direct(tail, 1)
		d := NewDecoder(e.Finish())
		for i := range 1000 {
			if v := d.Direct(32); v != 1<<32-1 {
				t.Fatalf("word %d = %x", i, v)
			}
		}
		var q Prob
		for range 50 {
			if d.Bit(&q) != int(tail) {
				t.Fatal("a decision after the row of ones differs")
			}
		}
		if d.Direct(1) != tail || d.Close() != nil {
			t.Errorf("tail %d: last bit or end differs: %v", tail, d.Close())
		}
	}
}

func TestNumberEdges(t *testing.T) {
	var values []uint64
	for n := range 63 {
		values = append(values, 1<<n, 1<<n-1, 1<<n+1)
	}
	values = append(values, 0, 1<<63-1)
	e := NewEncoder()
	var m Number
	for _, v := range values {
		m.Encode(e, v)
	}
	d := NewDecoder(e.Finish())
	m = Number{}
	for _, v := range values {
		if got := m.Decode(d); got != v {
			t.Errorf("decoded %d, want %d", got, v)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestDecoderPastItsEnd(t *testing.T) {
	for _, src := range [][]byte{nil, {1}, {1, 2, 3}} {
		d := NewDecoder(src)
		if err := d.Err(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v, want %v", len(src), err, ErrCorrupt)
		}
		var p Prob
		for range 1000 {
			d.Bit(&p)
			d.Direct(32)
		}
		if err := d.Close(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: close: %v, want %v", len(src), err, ErrCorrupt)
		}
	}
}

// TestDirectBytes reads bytes in both ways, between decisions that leave the
// width anywhere, out of what an encoder wrote and out of what none did.
func TestDirectBytes(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		src := make([]byte, 3000)
		for i := range src {
			src[i] = byte(rnd.Uint32())
		}
		switch seed % 4 {
		case 1:
			src = src[:rnd.IntN(200)] // ends too soon
		case 2:
			for i := range src {
				src[i] = 0xFF // more than an encoder writes
			}
		case 3:
			clear(src)
		}
		one, all := NewDecoder(src), NewDecoder(src)
		var p, q Prob
		for range 60 {
			for range rnd.IntN(12) {
				if a, b := one.Bit(&p), all.Bit(&q); a != b {
					t.Fatalf("seed %d: decisions %d and %d", seed, a, b)
				}
			}
			if n := rnd.IntN(9); one.Direct(n) != all.Direct(n) {
				t.Fatalf("seed %d: other bits", seed)
			}
			got := make([]byte, rnd.IntN(40))
			all.DirectBytes(got)
			for i, b := range got {
				if want := byte(one.Direct(8)); b != want {
					t.Fatalf("seed %d: byte %d of %d is %d, want %d", seed, i, len(got), b, want)
				}
			}
			if one.width != all.width || one.code != all.code || one.at != all.at {
				t.Fatalf("seed %d: width %#x, code %#x at %d, want %#x, %#x, %d", seed, all.width, all.code, all.at, one.width, one.code, one.at)
			}
		}
	}
}

// TestDirectBytesCoded codes bytes in both ways, between decisions that leave
// the width anywhere.
func TestDirectBytesCoded(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 10))
		one, all := NewEncoder(), NewEncoder()
		var p, q Prob
		for range 60 {
			for range rnd.IntN(12) {
				bit := rnd.IntN(8) / 7
				one.Bit(&p, bit)
				all.Bit(&q, bit)
			}
			b := make([]byte, rnd.IntN(40))
			for i := range b {
				if b[i] = byte(rnd.Uint32()); seed%2 == 0 {
					b[i] = 0xFF // held back for a carry
				}
				one.Direct(uint32(b[i]), 8)
			}
			all.DirectBytes(b)
			if one.width != all.width || one.low != all.low || one.Len() != all.Len() {
				t.Fatalf("seed %d: width %#x, low %#x after %d, want %#x, %#x, %d", seed, all.width, all.low, all.Len(), one.width, one.low, one.Len())
			}
		}
		if got, want := all.Finish(), one.Finish(); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: other bytes", seed)
		}
	}
}
