package wasmhost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// wasi is a phase that calls one function of WASI with numbers and returns its errno.
func wasi(name string, data []byte, numbers ...int64) asm {
	typ := wasiFunctions()[name].typ
	a := asm{imports: [][3]string{{abi.WASI, name, typ}}, data: string(data)}
	for i, n := range numbers {
		code := byte(0x41) // i32.const
		if typ[i] == 'I' {
			code = 0x42
		}
		a.body = append(append(a.body, code), sleb(n)...)
	}
	a.body = append(a.body, 0x10, 0)
	if strings.HasSuffix(typ, ":") {
		a.body = append(a.body, 0x41, 0)
	}
	return a
}

// then goes on with the body and returns what it leaves.
func (a asm) then(body ...byte) asm {
	a.body = append(append(a.body, 0x1a), body...)
	return a
}

// load32 reads the number at an address below 64.
func load32(at byte) []byte { return []byte{0x41, at, 0x28, 2, 0} }

// returned is what a phase returned, whether it is a class or not.
func returned(t *testing.T, r Result, err error) string {
	t.Helper()
	if err == nil {
		return fmt.Sprint(int32(r.Class))
	}
	if _, n, ok := strings.Cut(err.Error(), "the phase returned "); ok && errors.Is(err, ABI) {
		n, _, _ = strings.Cut(n, " ")
		return n
	}
	if errors.Is(err, GuestFailed) || errors.Is(err, Cancelled) {
		return fmt.Sprint(int32(r.Class))
	}
	return err.Error()
}

// Every function of preview 1 is there, and those that are of no use to a
// module without files say so.
func TestWASIFunctions(t *testing.T) {
	all := wasiFunctions()
	if len(all) != 46 {
		t.Errorf("%d functions", len(all))
	}
	for name, f := range all {
		params, _, _ := strings.Cut(f.typ, ":")
		if name == "proc_exit" || name == "poll_oneoff" || name == "clock_time_get" || name == "random_get" {
			continue // have tests of their own
		}
		for _, fd := range []int64{0, 1, 2, 3, 4, 1000, -1} {
			numbers := make([]int64, len(params))
			if len(numbers) > 0 {
				numbers[0] = fd
			}
			want := "0"
			switch {
			case strings.HasPrefix(name, "path_"), strings.HasPrefix(name, "fd_prestat"):
				want = "8"
			case name == "proc_raise":
				want = "52"
			case strings.HasPrefix(name, "args_"), strings.HasPrefix(name, "environ_"), name == "sched_yield":
				numbers = make([]int64, len(params))
			case name == "clock_res_get" && (fd < 0 || fd > 1):
				want = "28"
			case name == "clock_res_get", name == "fd_close" && fd >= 0 && fd < 3, name == "fd_fdstat_get" && fd >= 0 && fd < 3,
				name == "fd_read" && fd == 0, name == "fd_write" && (fd == 1 || fd == 2):
			case fd < 0 || fd > 2 || name == "fd_read" || name == "fd_write":
				want = "8"
			default:
				want = "52"
			}
			r, err := try(t, wasi(name, nil, numbers...), abi.Install, Limits{}, newBench(nil, device.Slots).grants)
			if got := returned(t, r, err); got != want {
				t.Errorf("%s(%d): %s, want errno %s", name, fd, got, want)
			}
		}
	}
}

func TestWASIBadPointersTrap(t *testing.T) {
	const end = 64 << 10
	for _, a := range []asm{
		wasi("args_sizes_get", nil, end-3, 0), wasi("environ_sizes_get", nil, 0, -1), wasi("clock_res_get", nil, 0, end-7),
		wasi("clock_time_get", nil, 0, 0, end-7), wasi("fd_fdstat_get", nil, 1, end-23), wasi("fd_read", nil, 0, 0, 0, end-3),
		wasi("fd_write", nil, 1, end-7, 1, 0), wasi("fd_write", nil, 1, 0, 0, end-3),
		wasi("fd_write", []byte{0, 0, 0, 0, 1, 0, 1, 0}, 1, 0, 1, 16), wasi("fd_write", []byte{0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0}, 1, 0, 1, 16),
		wasi("random_get", nil, 1, end), wasi("random_get", nil, -1, -1),
		wasi("poll_oneoff", nil, end-47, 0, 1, 0), wasi("poll_oneoff", nil, 0, end-31, 1, 0), wasi("poll_oneoff", nil, 0, 0, 1, end-3),
	} {
		_, err := try(t, a, abi.Install, Limits{}, newBench(nil, device.Slots).grants)
		if !errors.Is(err, GuestTrap) || !strings.Contains(err.Error(), "outside the memory of 65536 bytes") {
			t.Errorf("%s: %v, want a trap", a.imports[0][1], err)
		}
	}
}

func TestWASIWrites(t *testing.T) {
	vectors := func(pairs ...uint32) (b []byte) {
		for _, n := range pairs {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		return b
	}
	written := func(a asm) asm { return a.then(load32(60)...) }
	b := newBench(nil, device.Slots)
	text := append(vectors(24, 3, 27, 0, 27, 5), "one\ntwo\nthree\n"...)
	r, err := try(t, written(wasi("fd_write", text, 2, 0, 3, 60)), abi.Install, Limits{}, b.grants)
	if got := returned(t, r, err); got != "8" || strings.Join(b.log, "|") != "2 one|2 two" {
		t.Errorf("%s bytes, log %q", got, b.log)
	}
	// A call takes 64 KiB at the most.
	b = newBench(nil, device.Slots)
	r, err = try(t, written(wasi("fd_write", vectors(slices.Repeat([]uint32{0, 1 << 16}, 4)...), 1, 0, 4, 60)), abi.Install, Limits{}, b.grants)
	if got := returned(t, r, err); got != "65536" {
		t.Errorf("%s bytes of a long text", got)
	}
	r, err = try(t, wasi("fd_write", nil, 1, 0, 1025, 60), abi.Install, Limits{}, b.grants)
	if got := returned(t, r, err); got != "28" {
		t.Errorf("1025 vectors: %s", got)
	}
}

func poll(subscriptions ...[]byte) asm {
	all := slices.Concat(subscriptions...)
	return wasi("poll_oneoff", all, 0, 1024, int64(len(subscriptions)), 2048)
}

func clockAt(user byte, clock uint32, ns int64, flags byte) []byte {
	b := make([]byte, subscriptionSize)
	b[0] = user
	binary.LittleEndian.PutUint32(b[16:], clock)
	binary.LittleEndian.PutUint64(b[24:], uint64(ns))
	b[40] = flags
	return b
}

func TestWASIPollWaitsForTheFirstClock(t *testing.T) {
	const count, user, errno, kind = 0, 1, 2, 3
	// what reads the number of events, or a field of the first.
	read := func(field int) []byte {
		at := [][]byte{{0x28, 2}, {0x2d, 0}, {0x2f, 1}, {0x2d, 0}}[field]
		off := []int64{2048, 1024, 1032, 1034}[field]
		return slices.Concat([]byte{0x41}, sleb(off), at, []byte{0})
	}
	descriptor := make([]byte, subscriptionSize)
	descriptor[0], descriptor[8] = 9, 1
	for _, tt := range []struct {
		name  string
		subs  [][]byte
		field int
		want  string
		slept time.Duration
	}{
		{"one", [][]byte{clockAt(7, 1, 3e9, 0)}, count, "1", 3 * time.Second},
		{"the shorter of two", [][]byte{clockAt(7, 1, 3e9, 0), clockAt(8, 0, 1e9, 0)}, count, "1", time.Second},
		{"and says which", [][]byte{clockAt(7, 1, 3e9, 0), clockAt(8, 0, 1e9, 0)}, user, "8", time.Second},
		{"two that are due", [][]byte{clockAt(7, 1, 1e9, 0), clockAt(8, 1, 1e9, 0)}, count, "2", time.Second},
		{"a time that has passed", [][]byte{clockAt(7, 1, 1, 1)}, count, "1", 0},
		{"a time of day", [][]byte{clockAt(7, 0, 1_700_000_005e9, 1)}, count, "1", 5 * time.Second},
		{"a descriptor is at once", [][]byte{clockAt(7, 1, 3e9, 0), descriptor}, user, "9", 0},
		{"and not supported", [][]byte{descriptor}, errno, "58", 0},
		{"as a descriptor", [][]byte{descriptor}, kind, "1", 0},
		{"an unknown clock", [][]byte{clockAt(7, 2, 3e9, 0)}, errno, "28", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(nil, device.Slots)
			clock := &clock{}
			b.grants.Clock = clock
			r, err := try(t, poll(tt.subs...).then(read(tt.field)...), abi.Install, Limits{}, b.grants)
			// Each look at the fake clock takes a microsecond.
			if got := returned(t, r, err); got != tt.want || (clock.at-tt.slept).Abs() > time.Millisecond {
				t.Errorf("%s, want %s; slept %v, want %v", got, tt.want, clock.at, tt.slept)
			}
		})
	}
	for n, want := range map[int64]string{0: "28", maxSubscriptions + 1: "28", maxSubscriptions: "0"} {
		r, err := try(t, wasi("poll_oneoff", nil, 0, 8192, n, 16384), abi.Install, Limits{}, newBench(nil, device.Slots).grants)
		if got := returned(t, r, err); got != want {
			t.Errorf("%d subscriptions: %s, want %s", n, got, want)
		}
	}
}

// In compat the time stands still, a sleep moves it without waiting, and
// random bytes repeat.
func TestWASIIsPureInCompat(t *testing.T) {
	low := append(load32(0), 0x41, 0xff, 0x00, 0x71) // the low 7 bits
	run := func(phase abi.Phase, a asm) string {
		b := newBench(nil, device.Slots)
		r, err := try(t, a, phase, Limits{}, b.grants)
		return returned(t, r, err)
	}
	random := wasi("random_get", nil, 0, 4).then(load32(0)...)
	first := run(abi.Compat, random)
	for range 3 {
		if got := run(abi.Compat, random); got != first {
			t.Errorf("random numbers in compat: %s and %s", first, got)
		}
	}
	other := map[string]bool{}
	for range 3 {
		other[run(abi.Install, random)] = true
	}
	if len(other) != 3 {
		t.Errorf("random numbers in install repeat: %v", other)
	}
	if got := run(abi.Compat, wasi("clock_time_get", nil, 1, 0, 0).then(low...)); got != "1" {
		t.Errorf("the time begins at %s", got)
	}
	slept := poll(clockAt(7, 1, 41, 0))
	slept.imports = append(slept.imports, [3]string{abi.WASI, "clock_time_get", "iIi:i"})
	slept = slept.then(slices.Concat([]byte{0x41, 1, 0x42, 0, 0x41, 0, 0x10, 1, 0x1a}, low)...)
	if got := run(abi.Compat, slept); got != "42" {
		t.Errorf("41 ns later it is %s", got)
	}
}

func TestLargeRandomIsCharged(t *testing.T) {
	a := wasi("random_get", nil, 0, 16*mib)
	a.pages = 256
	r, err := try(t, a, abi.Install, Limits{}, newBench(nil, device.Slots).grants)
	if err != nil || r.Usage.Fuel < 16*mib/bytesFuel || r.Usage.Moved != 16*mib || r.Usage.Memory != 16*mib {
		t.Errorf("usage %+v, error %v", r.Usage, err)
	}
	if _, err := try(t, a, abi.Install, Limits{Fuel: 1000}, newBench(nil, device.Slots).grants); !errors.Is(err, Fuel) {
		t.Errorf("with 1000 fuel: %v", err)
	}
}
