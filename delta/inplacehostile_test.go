package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/inplace"
	drive "github.com/updraft-ota/updraft/internal/disk"
)

// TestInPlaceDamage flips every byte of a patch, and cuts it everywhere: that
// is found before the first write.
func TestInPlaceDamage(t *testing.T) {
	p := inPlacePairs(60_000)[5]
	patch := makeInPlacePatch(t, p.old, p.new, InPlaceOptions{Journal: leastJournal})
	d := slot(t, p.old)
	d.Before = func(c drive.Call) error { return fmt.Errorf("%s of %s", c.Op, c.Name) }
	try := func(what string, at int, b []byte) {
		t.Helper()
		err := update(t, d, b, Limits{Size: int64(len(p.new))})
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
			t.Fatalf("%s at byte %d: %v, want ErrCorrupt before anything is written", what, at, err)
		}
	}
	step := max(1, len(patch)/3000)
	for i := 0; i < len(patch); i += 1 + i/600*step {
		b := bytes.Clone(patch)
		b[i] ^= 1 << (i % 8)
		try("flip", i, b)
		try("cut", i, patch[:i])
	}
	try("more", len(patch), append(bytes.Clone(patch), 0))
}

// A patch is refused, before anything is written, where it does not belong.
func TestInPlaceRefuses(t *testing.T) {
	all := inPlacePairs(100_000)
	p, other := all[3], all[6]
	patch := makeInPlacePatch(t, p.old, p.new, smallJournal)
	var ordinary bytes.Buffer
	if _, err := Make(context.Background(), lookup(t, "udelta"), &ordinary, section(p.old), section(p.new), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		image  []byte
		patch  []byte
		limits Limits
		want   error
	}{
		{"another old image", p.new[:len(p.old)], patch, Limits{Size: AnySize}, ErrCorrupt},
		{"a shorter old image", p.old[:1000], patch, Limits{Size: AnySize}, ErrCorrupt},
		{"another size", p.old, patch, Limits{Size: int64(len(p.new)) + 1}, ErrCorrupt},
		{"too little memory", p.old, patch, Limits{Size: AnySize, Memory: 1 << 20}, ErrTooLarge},
		{"an ordinary patch", p.old, ordinary.Bytes(), Limits{Size: AnySize}, ErrUnsupported},
		{"no patch", p.old, nil, Limits{Size: AnySize}, ErrCorrupt},
	} {
		d := slot(t, tt.image)
		d.Before = func(c drive.Call) error { return fmt.Errorf("%s of %s", c.Op, c.Name) }
		if err := update(t, d, tt.patch, tt.limits); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	// And the other way round.
	if _, err := lookup(t, "udelta").NewReader(context.Background(), bytes.NewReader(p.old), int64(len(p.old)), bytes.NewReader(patch), Limits{Size: AnySize}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("an ordinary reader says %v of an in-place patch, want %v", err, ErrUnsupported)
	}
	// In the middle of an update, another one says what to do.
	d := slot(t, p.old)
	d.Before = drive.StopAt(d.Calls() + 8)
	if err := update(t, d, patch, Limits{Size: AnySize}); !errors.Is(err, drive.ErrCut) {
		t.Fatal(err)
	}
	d.Before = nil
	d.Cut(drive.Kill)
	err := update(t, d, makeInPlacePatch(t, other.old, other.new, smallJournal), Limits{Size: AnySize})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "another update") {
		t.Errorf("an update in the midst of another one: %v", err)
	}
	if err := update(t, d, patch, Limits{Size: AnySize}); err != nil || !bytes.Equal(image(t, d, len(p.new)), p.new) {
		t.Errorf("then the first one again: %v, or a wrong image", err)
	}
}

// When the old image changes while it is updated, nothing of a batch made from
// it is written.
func TestInPlaceChangedUnderway(t *testing.T) {
	p := inPlacePairs(100_000)[4]
	patch := makeInPlacePatch(t, p.old, p.new, smallJournal)
	d := slot(t, p.old)
	batches := 0
	d.Before = func(c drive.Call) error {
		if batches > 0 {
			return drive.ErrCut
		}
		if c.Op == "sync" && c.Name == "/image" {
			batches++
		}
		return nil
	}
	if err := update(t, d, patch, Limits{Size: AnySize}); !errors.Is(err, drive.ErrCut) {
		t.Fatal(err)
	}
	d.Before = nil
	d.Cut(drive.Kill)
	// A byte that the last batch needs.
	f := openSlot(t, d, "image")
	if _, err := f.WriteAt([]byte{p.old[99_000] + 1}, 99_000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	touched := false
	d.Before = func(c drive.Call) error {
		touched = touched || c.Op == "write" && c.Name == "/image" && c.Off+c.Len > 64<<10
		return nil
	}
	if err := update(t, d, patch, Limits{Size: AnySize}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "frame") {
		t.Errorf("%v, want ErrCorrupt with the frame", err)
	}
	if touched {
		t.Error("a batch that was wrong was written")
	}
}

// blocksOf gives a patch with a table of blocks of its own, and right checksums.
func blocksOf(t *testing.T, p inPlacePair, batches [][]inplace.Run, change func(body []byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	m := &inPlaceMaker{old: p.old, new: p.new, dst: io.Discard, forget: func() {}}
	m.frames = udeltaMaker{level: udeltaLevels[Default], dst: &m.made}
	if err := m.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.plan.Batches = batches
	m.frames.stats = Stats{}
	m.dst = &out
	if err := m.head(); err != nil {
		t.Fatal(err)
	}
	for _, runs := range batches {
		body := change(inplace.AppendRuns(nil, runs))
		if err := m.section(batchSection, body); err != nil {
			t.Fatal(err)
		}
		m.frames.old, m.frames.copies, m.frames.new = p.old, nil, make([]byte, m.plan.Length(runs))
		if err := m.frames.frames(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Tables of blocks that cannot be are refused before anything is written.
func TestInPlaceHostileBlocks(t *testing.T) {
	p := inPlacePairs(100_000)[1] // seven blocks of 16 KiB, the last one of 1,696 bytes
	as := func(b []byte) []byte { return b }
	for _, tt := range []struct {
		name    string
		batches [][]inplace.Run
		change  func([]byte) []byte
		want    string
	}{
		{"a block twice", [][]inplace.Run{{{First: 0, Count: 2}}, {{First: 1, Count: 2}}}, as, "block 1 is in two batches"},
		{"another order than declared", [][]inplace.Run{{{First: 0, Count: 1}}, {{First: 1, Count: 1}}},
			func(b []byte) []byte { return []byte{b[0] ^ 1, b[1]} }, "SHA-256"},
		{"behind the image", [][]inplace.Run{{{First: 0, Count: 1}}}, func([]byte) []byte { return []byte{7, 0} }, "of an image that has 7"},
		{"no block", [][]inplace.Run{{{First: 0, Count: 1}}}, func([]byte) []byte { return nil }, "without blocks"},
		{"more than declared", [][]inplace.Run{{{First: 0, Count: 1}}}, func([]byte) []byte { return []byte{0, 1} }, "are left"},
		{"more than a frame makes", [][]inplace.Run{{{First: 0, Count: 1}}, {{First: 6, Count: 1}}},
			func(b []byte) []byte { return []byte{6 - b[0], 0} }, "left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := slot(t, p.old)
			d.Before = func(c drive.Call) error { return fmt.Errorf("%s of %s", c.Op, c.Name) }
			err := update(t, d, blocksOf(t, p, tt.batches, tt.change), Limits{Size: AnySize})
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want ErrCorrupt with %q", err, tt.want)
			}
		})
	}
	// What is missing cannot be known before: the digest says so in the end.
	d := slot(t, p.old)
	err := update(t, d, blocksOf(t, p, [][]inplace.Run{{{First: 0, Count: 1}}}, as), Limits{Size: AnySize})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "after the last batch") {
		t.Errorf("blocks are missing: %v", err)
	}
}

func TestInPlaceStops(t *testing.T) {
	p := inPlacePairs(300_000)[1]
	patch := makeInPlacePatch(t, p.old, p.new, smallJournal)
	ctx, cancel := context.WithCancel(context.Background())
	d := slot(t, p.old)
	d.Before = func(c drive.Call) error {
		if c.Op == "sync" && c.Name == "/image" {
			cancel()
		}
		return nil
	}
	region, journal := openSlot(t, d, "image"), openSlot(t, d, "journal")
	if _, err := ApplyInPlace(ctx, region, journal, section(patch), Limits{Size: AnySize}); !errors.Is(err, context.Canceled) {
		t.Errorf("applying: %v, want %v", err, context.Canceled)
	}
	d.Before = nil
	if err := update(t, d, patch, Limits{Size: AnySize}); err != nil || !bytes.Equal(image(t, d, len(p.new)), p.new) {
		t.Errorf("after it was cancelled: %v, or a wrong image", err)
	}
	if _, err := MakeInPlace(ctx, io.Discard, section(p.old), section(p.new), InPlaceOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("making: %v, want %v", err, context.Canceled)
	}
}
