package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

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
	// Short pieces, which are read through a cache. What stands between them
	// is told by what stands there in the batch before.
	var pieces []byte
	for at := 0; at+200 < n; at += 500 {
		pieces = append(append(pieces, old[at:at+200]...), fresh[:min(300, n-at-200)]...)
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
		{"short pieces", old, pieces},
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
	for _, p := range inPlacePairs(300_000) {
		for _, level := range []Level{Fast, Default, Max} {
			for _, journal := range []int64{leastJournal, 100 << 10, 0} {
				if level != Default && journal != 0 {
					continue
				}
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
	for _, p := range inPlacePairs(130_000) {
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
