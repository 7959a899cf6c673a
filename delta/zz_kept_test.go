package delta

import (
	"bytes"
	"io"
	"testing"
	"github.com/updraft-ota/updraft/internal/sample"
)

func TestZZKept(t *testing.T) {
	a, b := sample.Programs(1500)
	gap := make([]byte, 5<<20)
	old := bytes.Join([][]byte{a, gap, a, gap, a}, nil)
	upd := bytes.Join([][]byte{b, gap, b, gap, b}, nil)
	patch := makeSmall(t, old, upd)
	var states []int64
	kept := int64(-1)
	maps := 0
	limits := Limits{Size: AnySize, Frame: func(at int64) { states = append(states, at); if len(states) > 16 { states = states[1:] } },
		Kept: func(at int64) { maps++; for _, s := range states { if s == at { kept = at } } }}
	r, err := lookup(t, "udelta").NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), limits)
	if err != nil { t.Fatal(err) }
	bad, n := 0, 0
	buf := make([]byte, 1000)
	for {
		k, err := r.Read(buf)
		if err == io.EOF { break }
		if err != nil { t.Fatal(err) }
		_ = k
		pos, err := r.(Marker).Mark()
		if err != nil { t.Fatal(err) }
		n++
		if pos.Map.Length > 0 && pos.Map.At != kept {
			ok := false
			for _, s := range states { ok = ok || s == pos.Map.At }
			if !ok { bad++ }
		}
	}
	t.Logf("%d maps, %d of %d marks bad", maps, bad, n)
}
