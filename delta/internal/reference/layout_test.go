package reference

import (
	"errors"
	"reflect"
	"slices"
	"testing"
)

func TestLayoutSurvivesItsRecord(t *testing.T) {
	old := mustParse(t, image(machineX86, elfShared, codePiece(fill(500)), constPiece(".rodata", fill(64)), dataPiece(fill(64)),
		piece{name: ".bss", kind: sectionNoBits, flags: sectionLoaded | sectionWritable, addr: 0x4F0000, empty: 900}))
	new := mustParse(t, image(machineX86, elfShared, codePiece(fill(900)), constPiece(".other", fill(64)), dataPiece(fill(300)),
		piece{name: ".bss", kind: sectionNoBits, flags: sectionLoaded | sectionWritable, addr: 0x4F1000, empty: 900}))
	m, err := NewMap(slices.Values([]Copy{{0, 0, 500}}), old.size)
	if err != nil {
		t.Fatal(err)
	}
	record := AppendLayout(nil, old, new, m, Wide32, Inline)
	if len(record) > 60 {
		t.Errorf("record has %d bytes, want at most 60", len(record))
	}
	l, err := old.ReadLayout(record, m)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(new.segments)
	for i := range want {
		want[i].flags = l.segments[i].flags
	}
	if !reflect.DeepEqual(l.segments, want) {
		t.Errorf("segments = %+v, want %+v", l.segments, want)
	}
	for _, name := range []string{".text", ".data"} {
		a, _ := old.section(name)
		b, _ := new.section(name)
		if got, ok := old.anchorAt(l, a.off); !ok || got != b.off {
			t.Errorf("%s is at %d, %v, want %d", name, got, ok, b.off)
		}
	}
	if len(l.voids) != 1 || l.voids[0] != 0x4F1000 {
		t.Errorf("voids = %#x, want 0x4f1000", l.voids)
	}
	for k, off := range l.off {
		if want := Kind(k) == Wide32 || Kind(k) == Inline; off != want {
			t.Errorf("%s left alone = %v, want %v", kindNames[k], off, want)
		}
	}
	for n := range record {
		if _, err := old.ReadLayout(record[:n], m); !errors.Is(err, ErrCorrupt) {
			t.Errorf("first %d bytes of the record: error = %v, want %v", n, err, ErrCorrupt)
		}
	}
	if _, err := old.ReadLayout(append(slices.Clone(record), 0), m); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte more: error = %v, want %v", err, ErrCorrupt)
	}
}

func FuzzReadLayout(f *testing.F) {
	b := noise(seeded(1), machineX86, 300)
	e := mustParse(f, b)
	m, err := NewMap(slices.Values([]Copy{{0, 100, 700}}), e.size)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(AppendLayout(nil, e, e, m))
	f.Fuzz(func(t *testing.T, record []byte) {
		l, err := e.ReadLayout(record, m)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error = %v, want %v", err, ErrCorrupt)
			}
			return
		}
		if len(l.segments) > maxSegments || len(l.anchors) != len(e.anchors) || len(l.voids) != len(e.voids) {
			t.Fatalf("layout of %d segments, %d anchors, %d voids", len(l.segments), len(l.anchors), len(l.voids))
		}
	})
}
