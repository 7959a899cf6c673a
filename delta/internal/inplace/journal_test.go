package inplace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/updraft-ota/updraft/internal/disk"
)

// machine is a disk with an image and a journal, both durable.
func machine(t *testing.T, u *update) *disk.Forgetful {
	t.Helper()
	d := disk.NewForgetful()
	for name, content := range map[string][]byte{"image": u.old, "journal": nil} {
		f := open(t, d, name)
		if _, err := f.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t *testing.T, d *disk.Forgetful, name string) disk.File {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// boot runs the update from where it is, on files opened anew.
func boot(t *testing.T, d *disk.Forgetful, u *update) error {
	t.Helper()
	region, journal := open(t, d, "image"), open(t, d, "journal")
	defer region.Close()
	defer journal.Close()
	return u.apply(region, journal)
}

// wantNew checks that the image is the new one.
func wantNew(t *testing.T, d *disk.Forgetful, u *update, after string) {
	t.Helper()
	f := open(t, d, "image")
	defer f.Close()
	got := make([]byte, len(u.new))
	if _, err := f.ReadAt(got, 0); len(got) > 0 && err != nil {
		t.Fatalf("%s: %v", after, err)
	}
	if !bytes.Equal(got, u.new) {
		at := 0
		for got[at] == u.new[at] {
			at++
		}
		t.Fatalf("%s: the image is wrong from byte %d on", after, at)
	}
}

var cuts = []disk.Cut{disk.Kill, disk.Power, disk.PowerTorn}

// TestEveryCut stops the machine at every write and sync of an update, in each
// way, and once more at every one of the update that goes on after it.
func TestEveryCut(t *testing.T) {
	for _, p := range pairs(70_000) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			u := makeUpdate(t, p, MinBlock, 7)
			whole := machine(t, &u)
			if err := boot(t, whole, &u); err != nil {
				t.Fatal(err)
			}
			wantNew(t, whole, &u, "without a cut")
			fresh := machine(t, &u)
			before := fresh.Calls()
			points := 0
			for n := int64(1); n <= whole.Calls()-before; n++ {
				for _, cut := range cuts {
					d := fresh.Clone()
					d.Seed = uint64(n)
					points++
					if err := stop(t, d, &u, n, cut); err == nil {
						t.Fatalf("%v at call %d did not stop the update", cut, n)
					}
					again(t, d, &u, fmt.Sprintf("%v at call %d", cut, n))
				}
			}
			t.Logf("%d batches, %d calls, %d points", len(u.steps), whole.Calls()-before, points)
		})
	}
}

// stop runs the update until call n of it.
func stop(t *testing.T, d *disk.Forgetful, u *update, n int64, cut disk.Cut) error {
	t.Helper()
	d.Before = disk.StopAt(d.Calls() + n)
	err := boot(t, d, u)
	d.Before = nil
	d.Cut(cut)
	return err
}

// again goes on with the update, once without a cut, and once with another cut
// at each of the first calls, which are those that bring the region in order.
func again(t *testing.T, d *disk.Forgetful, u *update, after string) {
	t.Helper()
	for n := int64(1); n <= 12; n++ {
		second := d.Clone()
		second.Seed = d.Seed + uint64(n)<<32
		cut := cuts[n%int64(len(cuts))]
		if err := stop(t, second, u, n, cut); err == nil {
			wantNew(t, second, u, after)
			return
		}
		where := fmt.Sprintf("%s, then %v at call %d", after, cut, n)
		if err := boot(t, second, u); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		wantNew(t, second, u, where)
	}
	if err := boot(t, d, u); err != nil {
		t.Fatalf("%s: %v", after, err)
	}
	wantNew(t, d, u, after)
}

// TestEveryFault lets every write and sync fail once. The update is then run
// again without a restart, and that is cut at every call: what a failed sync
// has lost must not be taken for durable.
func TestEveryFault(t *testing.T) {
	for _, p := range pairs(70_000) {
		switch p.name {
		case "inserted in front", "halves swapped", "shifted both ways":
		default:
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			u := makeUpdate(t, p, MinBlock, 7)
			whole := machine(t, &u)
			before := whole.Calls()
			if err := boot(t, whole, &u); err != nil {
				t.Fatal(err)
			}
			calls, fresh := whole.Calls()-before, machine(t, &u)
			for n := int64(1); n <= calls; n++ {
				for name, hook := range map[string]func(int64) func(disk.Call) error{"short write": disk.ShortAt,
					"EIO":    func(n int64) func(disk.Call) error { return disk.FailAt(n, syscall.EIO) },
					"ENOSPC": func(n int64) func(disk.Call) error { return disk.FailAt(n, syscall.ENOSPC) }} {
					d := fresh.Clone()
					d.Before = hook(d.Calls() + n)
					err := boot(t, d, &u)
					d.Before = nil
					if err == nil && name != "short write" {
						t.Fatalf("%s at call %d is not reported", name, n)
					}
					if name == "EIO" && !errors.Is(err, syscall.EIO) {
						t.Fatalf("%s at call %d is reported as %v", name, n, err)
					}
					for k := int64(1); ; k++ {
						second := d.Clone()
						second.Seed = uint64(n<<16 + k)
						where := fmt.Sprintf("%s at call %d, then %v at call %d", name, n, cuts[k%3], k)
						err := stop(t, second, &u, k, cuts[k%3])
						if err := boot(t, second, &u); err != nil {
							t.Fatalf("%s: %v", where, err)
						}
						wantNew(t, second, &u, where)
						if err == nil || k > 15 {
							break
						}
					}
				}
			}
			t.Logf("%d calls", calls)
		})
	}
}

// A journal of another update is not taken for one's own, and neither is one
// whose record or pieces are damaged.
func TestWhatIsNotARecord(t *testing.T) {
	p := pairs(70_000)[3]
	u := makeUpdate(t, p, MinBlock, 2)
	d := machine(t, &u)
	d.Before = disk.StopAt(d.Calls() + 20)
	if err := boot(t, d, &u); err == nil {
		t.Fatal("the update was not stopped")
	}
	d.Before = nil
	d.Cut(disk.Kill)
	region, file := open(t, d, "image"), open(t, d, "journal")
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	saved := make([]byte, size)
	if _, err := file.ReadAt(saved, 0); err != nil {
		t.Fatal(err)
	}
	recovered := func(id [32]byte) []byte {
		t.Helper()
		state, err := OpenJournal(file, id, u.plan.BatchSize()).Recover(region)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	last := recovered([32]byte{7})
	if len(last) != 1 || last[0] < 2 {
		t.Fatalf("state %v, want that of batch 2 or a later one", last)
	}
	if got := recovered([32]byte{8}); got != nil {
		t.Errorf("the journal of another update gives %v", got)
	}
	at := int64(last[0]) % 2 * areaSize(u.plan.BatchSize())
	for _, off := range []int64{0, 8, 40, 48, 56, 60, 62, 508, recordSize, recordSize + pieceHead + 100} {
		flipped := bytes.Clone(saved[at+off : at+off+1])
		flipped[0] ^= 0x10
		if _, err := file.WriteAt(flipped, at+off); err != nil {
			t.Fatal(err)
		}
		if got := recovered([32]byte{7}); !bytes.Equal(got, []byte{last[0] - 1}) {
			t.Errorf("with byte %d flipped, the journal gives %v, want the batch before %v", off, got, last)
		}
		if _, err := file.WriteAt(saved, 0); err != nil {
			t.Fatal(err)
		}
	}
	j := OpenJournal(file, [32]byte{8}, u.plan.BatchSize())
	if err := j.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := recovered([32]byte{7}); got != nil {
		t.Errorf("a cleared journal gives %v", got)
	}
}

// What is there already is not written.
func TestOnlyPagesThatDifferAreWritten(t *testing.T) {
	old := random(3, 1<<20)
	touched := bytes.Clone(old)
	touched[500_000]++
	u := makeUpdate(t, pair{"one byte", old, touched}, 64<<10, 4)
	d := machine(t, &u)
	written := int64(0)
	d.Before = func(c disk.Call) error {
		if c.Op == "write" && c.Name == "/image" {
			written += c.Len
		}
		return nil
	}
	if err := boot(t, d, &u); err != nil {
		t.Fatal(err)
	}
	wantNew(t, d, &u, "without a cut")
	if written != page {
		t.Errorf("%d bytes were written, want one page of %d", written, page)
	}
}

// A batch of the greatest size, all of whose pages differ, fits into an area.
func TestTheJournalIsNoLargerThanSaid(t *testing.T) {
	for _, blocks := range []int64{1, 3, 100} {
		u := makeUpdate(t, pair{"unrelated", random(4, 1<<20), random(5, 1<<20+77)}, MinBlock, blocks)
		d := machine(t, &u)
		end := int64(0)
		d.Before = func(c disk.Call) error {
			if c.Op == "write" && c.Name == "/journal" {
				end = max(end, c.Off+c.Len)
			}
			return nil
		}
		if err := boot(t, d, &u); err != nil {
			t.Fatal(err)
		}
		if most := JournalSize(u.plan.BatchSize()); end > most || end < most/2 {
			t.Errorf("batches of %d blocks: the journal has %d bytes, want at most %d, and at least half of that", blocks, end, most)
		}
	}
}

func TestStatesAreBounded(t *testing.T) {
	u := makeUpdate(t, pairs(10_000)[1], MinBlock, 2)
	d := machine(t, &u)
	for _, tt := range []struct {
		size int
		ok   bool
	}{{0, true}, {MaxState, true}, {MaxState + 1, false}} {
		region, file := open(t, d, "image"), open(t, d, "journal")
		j := OpenJournal(file, [32]byte{1}, u.plan.BatchSize())
		state := bytes.Repeat([]byte{9}, tt.size)
		if err := j.Begin(region, 10_000).Commit(state); (err == nil) != tt.ok {
			t.Fatalf("a state of %d bytes: %v", tt.size, err)
		}
		if !tt.ok {
			continue
		}
		got, err := OpenJournal(file, [32]byte{1}, u.plan.BatchSize()).Recover(region)
		if err != nil || !bytes.Equal(got, state) {
			t.Errorf("a state of %d bytes came back with %d bytes, %v", tt.size, len(got), err)
		}
	}
}
