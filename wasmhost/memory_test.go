package wasmhost

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

func TestArenaGrowsInPlace(t *testing.T) {
	b := &budget{left: 64 * mib}
	a, err := newArena(b, 64*mib)
	if err != nil {
		t.Fatal(err)
	}
	first := a.Reallocate(mib)
	first[mib-1] = 7
	all := a.Reallocate(64 * mib)
	if len(all) != 64*mib || &all[0] != &first[0] || all[mib-1] != 7 || all[mib] != 0 || all[64*mib-1] != 0 {
		t.Error("the memory moved, or what was new was not zero")
	}
	if a.Reallocate(64*mib+1) != nil {
		t.Error("it grew beyond its reservation")
	}
	if err := b.take(1); err == nil {
		t.Error("the budget gave more than it has")
	}
	a.Free()
	a.Free()
	if b.left != 64*mib || a.peak != 64*mib {
		t.Errorf("%d bytes left after freeing twice, peak %d", b.left, a.peak)
	}
	if _, err := newArena(b, 64*mib+1); err == nil {
		t.Error("an arena larger than the budget was made")
	}
}

// What is reserved costs nothing before it is touched.
func TestReservationIsNotResident(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		t.Skip("the kernel does not say what is resident")
	}
	pages := func() int64 {
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n * int64(os.Getpagesize())
	}
	before := pages()
	a, err := newArena(&budget{left: 1 << 30}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	usable := a.Reallocate(1 << 30)
	reserved := pages() - before
	for i := 0; i < 32*mib; i += 4096 {
		usable[i] = 1
	}
	touched := pages() - before
	a.Free()
	freed := pages() - before
	t.Logf("1 GiB reserved: %d KiB resident, %d KiB with 32 MiB touched, %d KiB after freeing", reserved>>10, touched>>10, freed>>10)
	if reserved > 8*mib || touched > 48*mib || freed > 16*mib {
		t.Error("want at most 8, 48 and 16 MiB")
	}
}

// during is a journal that does something while it saves.
type during struct {
	*memoryJournal
	do func()
}

func (d *during) Save(ctx context.Context, c Checkpoint) error {
	d.do()
	return d.memoryJournal.Save(ctx, c)
}

// Two instances at once have the budget of the host together.
func TestInstancesShareTheBudget(t *testing.T) {
	h, err := New(t.Context(), Config{Memory: 24 * mib})
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Load(t.Context(), calls(op{"mark", []int64{0, 0}}).bytes(t), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	inner := newBench(nil, device.Slots)
	outer := newBench(nil, device.Slots)
	var within error
	outer.grants.Journal = &during{memoryJournal: outer.journal, do: func() {
		if within == nil { // the mark, not what is saved when the instance is gone
			_, within = m.Call(t.Context(), abi.Install, inner.grants)
		}
	}}
	if _, err := m.Call(t.Context(), abi.Install, outer.grants); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(within, Memory) || !strings.Contains(within.Error(), "8388608 are left") || inner.journal.saves != 0 {
		t.Errorf("the second instance: %v, want memory", within)
	}
	if _, err := m.Call(t.Context(), abi.Install, inner.grants); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
	if h.memory.left != 24*mib {
		t.Errorf("%d bytes are left of the budget", h.memory.left)
	}
}
