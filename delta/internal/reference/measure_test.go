package reference

import (
	"bytes"
	"slices"
	"testing"
)

func TestMeasureTellsWhatIsRight(t *testing.T) {
	for _, machine := range []uint16{machineX86, machineArm64} {
		old, new := functions(machine, 0), functions(machine, 4096)
		e, n := mustParse(t, old), mustParse(t, new)
		from, to := e.sections[1].off, n.sections[1].off
		table := Copy{e.sections[2].off, n.sections[2].off, e.sections[2].size}
		copies := []Copy{{from, to, 16000}, {from + 16000, to + 16000 + 4096, 16000}, table, {e.size - 4, 0, 8}, {-1, 0, 8}}
		l, m, _ := layoutOf(t, e, n, copies[:3])
		got := MeasureKinds(e, l, m, old, new, slices.Values(copies))
		half := func(g Gain) bool { return g.Fields == 1000 && g.Forecast == 1000 && g.Plain > 400 && g.Plain < 600 }
		if !half(got[Word]) {
			t.Errorf("machine %d: table of addresses: %+v, want 1000 fields, about half and all right", machine, got[Word])
		}
		calls := got[Near32]
		if machine == machineArm64 {
			calls = got[Branch26]
		}
		if !half(calls) {
			t.Errorf("machine %d: calls: %+v, want 1000 fields, about half and all right", machine, calls)
		}
		other := got[Data32] // what looks like an operand
		want := Gain{2000 + other.Fields, calls.Plain + got[Word].Plain + other.Plain, 2000 + other.Forecast}
		if g := Measure(e, l, m, old, new, slices.Values(copies)); g != want {
			t.Errorf("machine %d: in all %+v, want %+v", machine, g, want)
		}
		l, err := e.ReadLayout(AppendLayout(nil, e, n, m, Word), m)
		if err != nil {
			t.Fatal(err)
		}
		if g := MeasureKinds(e, l, m, old, new, slices.Values(copies))[Word]; g != (Gain{}) {
			t.Errorf("machine %d: of a kind that is left alone: %+v, want none", machine, g)
		}
	}
}

func TestSniffTellsSize(t *testing.T) {
	r := seeded(5)
	whole := noise(r, machineX86, 600)
	size := int64(len(whole))
	cut := bytes.Clone(whole)
	little.PutUint64(cut[40:], 0) // no table of sections: the last segment ends the file
	little.PutUint16(cut[60:], 0)
	segments := int64(0)
	for _, s := range mustParse(t, cut).segments {
		segments = max(segments, int64(s.off+s.file))
	}
	for _, tt := range []struct {
		name  string
		image []byte
		limit int64
		want  int64 // 0: none
	}{
		{"a file with sections", whole, 1 << 20, size},
		{"a file that just fits", whole, size, size},
		{"a file that does not fit", whole, size - 1, 0},
		{"a file without sections", cut, 1 << 20, segments},
		{"a relocatable file", image(machineX86, elfRelocatable, codePiece(fill(64))), 1 << 20, int64(len(image(machineX86, elfRelocatable, codePiece(fill(64)))))},
		{"no header", whole[1:], 1 << 20, 0},
		{"too little for a header", whole, 63, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const at = 777
			b := join(fill(at), tt.image, fill(2000))
			got, ok := Sniff(bytes.NewReader(b), at, min(tt.limit, int64(len(b)-at)))
			if got != tt.want || ok != (tt.want > 0) {
				t.Errorf("size = %d, %v, want %d", got, ok, tt.want)
			}
		})
	}
	if _, ok := Sniff(bytes.NewReader(whole), -1, size); ok {
		t.Error("a place before the start was looked at")
	}
}

func FuzzSniff(f *testing.F) {
	f.Add(noise(seeded(1), machineX86, 300), uint16(0))
	f.Add(image(machineArm64, elfRelocatable, codePiece(fill(64))), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		limit := int64(len(b)) - int64(at)
		size, ok := Sniff(bytes.NewReader(b), int64(at), limit)
		if !ok {
			return
		}
		if size < 52 || size > limit {
			t.Fatalf("size = %d of at most %d", size, limit)
		}
	})
}
