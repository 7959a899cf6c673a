package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/delta/internal/inplace"
	"github.com/updraft-ota/updraft/delta/internal/match"
	drive "github.com/updraft-ota/updraft/internal/disk"
)

// inPlacePair is an old image and a new one.
type inPlacePair struct {
	name     string
	old, new []byte
}

// inPlacePairs are the ways in which images change, for images of n bytes.
func inPlacePairs(n int) []inPlacePair {
	fill := func(seed uint64) []byte {
		dice, b := rand.New(rand.NewPCG(seed, 5)), make([]byte, n)
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
		return b
	}
	old, fresh := fill(1), fill(2)
	h, odd := n/2, n/7+13
	var reversed []byte
	for from := n; from > 0; from -= odd {
		reversed = append(reversed, old[max(0, from-odd):from]...)
	}
	touched := bytes.Clone(old)
	for i := 100; i < n; i += 999 {
		touched[i]++
	}
	return []inPlacePair{
		{"identical", old, old},
		{"unrelated", old, fresh},
		{"bytes changed", old, touched},
		{"inserted in front", old, slices.Concat(fresh[:odd], old)},
		{"deleted in front", old, old[odd:]},
		{"inserted and deleted", old, slices.Concat(touched[:h/2], fresh[:odd], old[h/2:h], old[h+2*odd:], fresh[odd:2*odd])},
		{"halves swapped", old, slices.Concat(touched[h:], old[:h])},
		{"parts swapped", old, slices.Concat(touched[odd:], old[:odd])},
		{"parts in reverse order", old, reversed},
		{"doubled", old, slices.Concat(old, touched)},
		{"quartered", old, touched[h/2 : h]},
		{"from nothing", nil, fresh},
		{"to nothing", old, nil},
	}
}

func makeInPlacePatch(t testing.TB, old, new []byte, o InPlaceOptions) []byte {
	t.Helper()
	var patch bytes.Buffer
	stats, err := MakeInPlace(context.Background(), &patch, section(old), section(new), o)
	if err != nil {
		t.Fatal(err)
	}
	if stats.PatchSize != int64(patch.Len()) {
		t.Errorf("the patch has %d bytes, %d were counted", patch.Len(), stats.PatchSize)
	}
	return patch.Bytes()
}

// slot is a disk with an image and an empty journal, both durable.
func slot(t testing.TB, image []byte) *drive.Forgetful {
	t.Helper()
	d := drive.NewForgetful()
	for name, content := range map[string][]byte{"image": image, "journal": nil} {
		f := openSlot(t, d, name)
		_, err := f.WriteAt(content, 0)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return d
}

func openSlot(t testing.TB, d *drive.Forgetful, name string) drive.File {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// update applies a patch on files opened anew.
func update(t testing.TB, d *drive.Forgetful, patch []byte, l Limits) error {
	t.Helper()
	region, journal := openSlot(t, d, "image"), openSlot(t, d, "journal")
	defer region.Close()
	defer journal.Close()
	_, err := ApplyInPlace(context.Background(), region, journal, section(patch), l)
	return err
}

// image is what the region has, of that length.
func image(t testing.TB, d *drive.Forgetful, n int) []byte {
	t.Helper()
	f := openSlot(t, d, "image")
	defer f.Close()
	b := make([]byte, n)
	if got, err := f.ReadAt(b, 0); got < n {
		t.Fatalf("the image has %d bytes, want %d: %v", got, n, err)
	}
	return b
}

var smallJournal = InPlaceOptions{Journal: 100 << 10}

func TestInPlace(t *testing.T) {
	for _, p := range inPlacePairs(400_000) {
		for _, level := range []Level{Fast, Default, Max} {
			for _, journal := range []int64{leastJournal, 100 << 10, 0} {
				t.Run(fmt.Sprint(p.name, " ", level, " ", journal), func(t *testing.T) {
					patch := makeInPlacePatch(t, p.old, p.new, InPlaceOptions{level, journal})
					info, err := InspectInPlace(bytes.NewReader(patch))
					if err != nil {
						t.Fatal(err)
					}
					if journal != 0 && info.Journal > journal {
						t.Errorf("the journal takes %d bytes, want at most %d", info.Journal, journal)
					}
					d := slot(t, p.old)
					most := int64(0)
					d.Before = func(c drive.Call) error {
						if c.Op == "write" && c.Name == "/journal" {
							most = max(most, c.Off+c.Len)
						}
						return nil
					}
					for _, again := range []string{"at first", "again"} {
						if err := update(t, d, patch, Limits{Size: int64(len(p.new)), Memory: info.Memory}); err != nil {
							t.Fatalf("%s: %v", again, err)
						}
						if !bytes.Equal(image(t, d, len(p.new)), p.new) {
							t.Fatalf("%s: the image is wrong", again)
						}
					}
					if most > info.Journal {
						t.Errorf("the journal has %d bytes, %d are declared", most, info.Journal)
					}
					if p.name == "identical" && (len(patch) > 160 || most > 0) {
						t.Errorf("nothing changes, but the patch has %d bytes and the journal %d", len(patch), most)
					}
				})
			}
		}
	}
}

// TestInPlaceEveryCut stops the machine at every write and sync.
func TestInPlaceEveryCut(t *testing.T) {
	for _, p := range inPlacePairs(150_000) {
		t.Run(p.name, func(t *testing.T) {
			patch := makeInPlacePatch(t, p.old, p.new, smallJournal)
			limits := Limits{Size: int64(len(p.new))}
			fresh := slot(t, p.old)
			whole := fresh.Clone()
			if err := update(t, whole, patch, limits); err != nil {
				t.Fatal(err)
			}
			calls := whole.Calls()
			for n := int64(1); n <= calls; n++ {
				for _, cut := range []drive.Cut{drive.Kill, drive.Power, drive.PowerTorn} {
					d := fresh.Clone()
					d.Seed = uint64(n)
					// A second cut comes some calls later.
					for _, stop := range []int64{n, 1 + n%5} {
						d.Before = drive.StopAt(d.Calls() + stop)
						err := update(t, d, patch, limits)
						d.Before = nil
						d.Cut(cut)
						if err != nil && !errors.Is(err, drive.ErrCut) {
							t.Fatalf("%v at call %d: %v", cut, n, err)
						}
					}
					if err := update(t, d, patch, limits); err != nil {
						t.Fatalf("%v at call %d: %v", cut, n, err)
					}
					if !bytes.Equal(image(t, d, len(p.new)), p.new) {
						t.Fatalf("%v at call %d: the image is wrong", cut, n)
					}
				}
			}
			t.Logf("%d calls", calls)
		})
	}
}

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
		{"an ordinary patch", p.old, ordinary.Bytes(), Limits{Size: AnySize}, ErrCorrupt},
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
	m := &inPlaceMaker{old: p.old, new: p.new, dst: io.Discard}
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

// TestInPlaceCorpus compares patches with ordinary ones without references. It
// wants UPDRAFT_CORPUS, a folder of pairs NAME/old and NAME/new, and takes
// names from UPDRAFT_PAIRS and the size of the journal from UPDRAFT_JOURNAL.
func TestInPlaceCorpus(t *testing.T) {
	dir := os.Getenv("UPDRAFT_CORPUS")
	if dir == "" {
		t.Skip("UPDRAFT_CORPUS is not set")
	}
	var o InPlaceOptions
	fmt.Sscan(os.Getenv("UPDRAFT_JOURNAL"), &o.Journal)
	for _, name := range strings.Fields(os.Getenv("UPDRAFT_PAIRS")) {
		old, err := os.ReadFile(filepath.Join(dir, name, "old"))
		if err != nil {
			t.Fatal(err)
		}
		new, err := os.ReadFile(filepath.Join(dir, name, "new"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		patch := makeInPlacePatch(t, old, new, o)
		made := time.Since(start)
		start = time.Now()
		plain := plainSize(t, old, new)
		plainly := time.Since(start)
		info, err := InspectInPlace(bytes.NewReader(patch))
		if err != nil {
			t.Fatal(err)
		}
		d := slot(t, old)
		start = time.Now()
		if err := update(t, d, patch, Limits{Size: int64(len(new))}); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: in place %d, ordinary without references %d, ratio %.3f; %d batches, %d of %d bytes made, journal %d, memory %d; made in %v (ordinary %v), applied in %v",
			name, len(patch), plain, float64(len(patch))/float64(plain), info.Batches, info.Written, info.NewSize, info.Journal, info.Memory, made, plainly, time.Since(start))
	}
}

// plainSize is the size of an ordinary patch without references.
func plainSize(t *testing.T, old, new []byte) int64 {
	t.Helper()
	level := udeltaLevels[Default]
	m := &udeltaMaker{old: old, new: new, level: level, dst: io.Discard}
	m.header = udeltaHeader{minor: udeltaMinor, oldSize: int64(len(old)), newSize: int64(len(new))}
	var err error
	if m.copies, err = match.Find(context.Background(), old, new, match.Options{Level: level.match}); err == nil {
		err = m.patch(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.stats.PatchSize
}
