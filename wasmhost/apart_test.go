//go:build linux

package wasmhost

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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// apartHostFor is a host whose modules run in processes of their own.
func apartHostFor(t testing.TB, c Config) *Host {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Isolation = []string{self, ProcessArgument}
	if c.Cache == "" {
		c.Cache, c.CacheKey = filepath.Join(t.TempDir(), "cache"), make([]byte, 32)
	}
	h, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// outcome is everything of a phase that must not depend on where it runs.
func outcome(r Result, err error, b *bench) string {
	var own *Error
	usage, stack := r.Usage, ""
	if errors.As(err, &own) {
		usage, stack = own.Usage, own.Stack
	}
	usage.Wall = 0
	return fmt.Sprintf("class %d\nreport %+v\ndigests %v\nerror %v\nstack %s\nusage %+v\nlog %q\nlive %d staged %d stamps %v\nhandles %d\njournal %s",
		r.Class, r.Report, r.Digests, err, stack, usage, b.log, len(b.door.live), len(b.door.staged), b.door.stamps, len(b.door.handles), b.journal.last)
}

// Each case gives the same in this process and in one of its own: result,
// error with stack, usage with fuel, log, device and checkpoint.
func TestProcessIsTheSame(t *testing.T) {
	here, there := cached, apartHostFor(t, Config{Cache: cached.cache.dir, CacheKey: make([]byte, 32)})
	hand := func(a asm) []byte { return a.bytes(t) }
	with := func(a asm, data string) asm { a.data = data; return a }
	spin := calls(op{name: "cancelled"})
	spin.body = append([]byte{0x03, 0x40, 0x10, 0, 0x1a, 0x0c, 0, 0x0b}, 0x41, 0)
	slots := func() *bench { return newBench([]byte("123"), device.Slots) }
	install := func(m *Module, b *bench) (Result, error) { return Install(t.Context(), m, b.grants) }
	phase := func(p abi.Phase) func(*Module, *bench) (Result, error) {
		return func(m *Module, b *bench) (Result, error) { return m.Call(t.Context(), p, b.grants) }
	}
	for _, tt := range []struct {
		name  string
		wasm  []byte
		bench func() *bench
		do    func(*Module, *bench) (Result, error)
		want  error
	}{
		{"an image", guests["install"], func() *bench { return newBench(image(3*mib+7), device.Slots) }, install, nil},
		{"a tree", guests["tree"], func() *bench { return newBench(image(190_001), device.Directory) }, install, nil},
		{"everything of the SDK", guests["every"], every, install, nil},
		{"a compat module", guests["compat"], func() *bench {
			b := newBench(nil, device.Slots)
			b.grants = Grants{Facts: map[string]string{"model": "x"}, Settings: []byte(`{"models": ["a"]}`)}
			return b
		}, phase(abi.Compat), nil},
		{"compat that fails", guests["compat"], func() *bench {
			b := newBench(nil, device.Slots)
			b.grants = Grants{Settings: []byte(`{"models": 7}`)}
			return b
		}, phase(abi.Compat), GuestFailed},
		{"a failing source", guests["install"], func() *bench {
			b := newBench(image(mib), device.Slots)
			b.source.err = errors.New("gone")
			return b
		}, install, HostIO},
		{"a failing door", guests["install"], func() *bench {
			b := newBench(image(mib), device.Slots)
			b.door.fail[device.Write] = device.ErrQuota
			return b
		}, install, device.ErrQuota},
		{"unreachable", hand(asm{body: []byte{0}}), slots, phase(abi.Install), GuestTrap},
		{"recursion", hand(asm{body: []byte{0x20, 0, 0x10, 1}}), slots, phase(abi.Install), Depth},
		{"a loop", hand(asm{body: []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x41, 0}}), slots, phase(abi.Install), Fuel},
		{"a loop of calls", hand(spin), slots, phase(abi.Install), Fuel},
		{"a bad handle", hand(calls(op{"art_size", []int64{7}})), slots, phase(abi.Install), GuestTrap},
		{"a bad pointer", hand(calls(op{"mark", []int64{65_536, 1}})), slots, phase(abi.Install), GuestTrap},
		{"going back", hand(with(calls(op{"art_open", []int64{0, 5}}, op{"art_read", []int64{firstArtifact, 2, 16, 1}},
			op{"art_read", []int64{firstArtifact, 0, 16, 1}}), "image")), slots, phase(abi.Install), ABI},
		{"not in this phase", hand(with(calls(op{"tgt_open", []int64{0, 3, 2}}), "out")), slots, phase(abi.Prepare), ABI},
		{"key-values", hand(with(calls(op{"kv_put", []int64{0, 1, 1, 2}}, op{"kv_flush", nil}, op{"kv_get", []int64{0, 1, 8, 1}}), "abc")),
			slots, phase(abi.Install), nil},
		{"growing until it fails", hand(asm{body: []byte{0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b, 0x41, 0}}), slots, phase(abi.Install), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got [2]string
			for n, h := range []*Host{here, there} {
				m, err := h.Load(t.Context(), tt.wasm, Limits{Memory: 64 * mib, Fuel: 12_000_000})
				if err != nil {
					t.Fatal(err)
				}
				b := tt.bench()
				b.grants.Random = rand.NewChaCha8([32]byte{}) // Go's runtime goes by what it is given
				r, err := tt.do(m, b)
				if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("host %d: %v, want %v", n, err, tt.want)
				}
				got[n] = outcome(r, err, b)
				if err := m.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if got[0] != got[1] {
				t.Errorf("in this process:\n%s\nin one of its own:\n%s", got[0], got[1])
			}
		})
	}
}

// What ends a guest by the clock ends it there too, with the guest's stack.
func TestProcessEndsByTheClock(t *testing.T) {
	loop := asm{body: []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x41, 0}}
	m := guestOn(t, apartHostFor(t, Config{Grace: 50 * time.Millisecond}), loop.bytes(t))
	b := newBench(nil, device.Slots)
	b.grants.Wall = 50 * time.Millisecond
	_, err := m.Call(t.Context(), abi.Install, b.grants)
	var own *Error
	if !errors.As(err, &own) || own.Code != Wall || own.Stack == "" || own.Usage.Fuel == 0 {
		t.Errorf("error = %+v, want wall with stack and fuel", err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("the operator said so")
	time.AfterFunc(20*time.Millisecond, func() { stop(why) })
	if _, err = m.Call(ctx, abi.Install, newBench(nil, device.Slots).grants); !errors.Is(err, Cancelled) || !errors.Is(err, why) {
		t.Errorf("error = %v, want cancelled with its cause", err)
	}
	b = newBench(nil, device.Slots)
	b.grants.Cancelled = func() bool { b.grants.Clock.(*clock).at += time.Second; return true }
	if _, err = m.Call(t.Context(), abi.Install, b.grants); !errors.Is(err, Cancelled) {
		t.Errorf("error = %v, want cancelled after the grace", err)
	}
}

// children are the processes that were started and are still there.
func children(t *testing.T) (list []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := bytes.Cut(text, []byte(") "))
		fields := strings.Fields(string(rest))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) && fields[0] != "Z" {
			list = append(list, pid)
		}
	}
	return list
}

// The process is killed in the middle, at each call; the phase that is called
// again ends with the same digest.
func TestProcessThatIsKilled(t *testing.T) {
	h := apartHostFor(t, Config{Cache: cached.cache.dir, CacheKey: make([]byte, 32)})
	m := guestOn(t, h, guests["install"])
	data := image(2*mib + 5)
	killed := 0
	for _, at := range []string{"tgt_open", "svc_copy", "wasi.clock"} {
		b := newBench(data, device.Slots)
		b.grants.Trace = func(x Exchange) {
			if x.Function != at {
				return
			}
			for _, pid := range children(t) {
				killed++
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		}
		_, err := m.Call(t.Context(), abi.Install, b.grants)
		if !errors.Is(err, HostIO) || !strings.Contains(err.Error(), "signal: killed") {
			t.Errorf("killed at %s: %v, want host-io with the signal", at, err)
		}
		b.grants.Trace = nil
		b.door.restart()
		if _, err := Install(t.Context(), m, b.grants); err != nil || b.door.stamps["rootfs@b"].SHA256 != b.source.digest {
			t.Errorf("after a kill at %s: %v, digest %s", at, err, b.door.stamps["rootfs@b"].SHA256)
		}
	}
	if killed != 3 {
		t.Errorf("%d processes were killed, want 3", killed)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// A power cut at the door passes through Call, and the process is gone.
func TestProcessAtAPowerCut(t *testing.T) {
	m := guestOn(t, apartHostFor(t, Config{Cache: cached.cache.dir, CacheKey: make([]byte, 32)}), guests["install"])
	b := newBench(image(mib), device.Slots)
	*b.door.power = power{left: 3}
	if !attempt(func() { Install(t.Context(), m, b.grants) }) {
		t.Fatal("the power was not cut")
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	b.door.restart()
	if _, err := Install(t.Context(), m, b.grants); err != nil || b.door.stamps["rootfs@b"].SHA256 != b.source.digest {
		t.Errorf("after the cut: %v", err)
	}
}

// What is recorded of a process replays in this one, and the other way.
func TestProcessIsRecorded(t *testing.T) {
	self, _ := os.Executable()
	text := recording(t, Config{Isolation: []string{self, ProcessArgument}}, func(h *Host) {
		if _, err := Install(t.Context(), guestOn(t, h, guests["install"]), newBench(image(mib), device.Slots).grants); err != nil {
			t.Error(err)
		}
	})
	if list, err := replayed(t, text, nil); err != nil || len(list) != 2 || !list[0].SameFuel || !list[1].SameFuel {
		t.Errorf("%+v, %v", list, err)
	}
	here := recording(t, Config{}, func(h *Host) {
		if _, err := Install(t.Context(), guestOn(t, h, guests["install"]), newBench(image(mib), device.Slots).grants); err != nil {
			t.Error(err)
		}
	})
	n := 0
	h := apartHostFor(t, Config{Cache: cached.cache.dir, CacheKey: make([]byte, 32)})
	err := Replay(t.Context(), h, io.NewSectionReader(bytes.NewReader(here), 0, int64(len(here))), nil, func(r Replayed) { n++ })
	if err != nil || n != 2 {
		t.Errorf("%d phases, %v", n, err)
	}
}

// The limits of the process hold where the guest's own would not: here its
// command does what a broken sandbox would.
func TestProcessLimits(t *testing.T) {
	self, _ := os.Executable()
	for _, tt := range []struct {
		does string
		code Code
		want string
	}{
		{"allocates", Memory, "out of memory"},
		{"opens", GuestTrap, "too many open files"},
		{"spins", HostIO, "signal: killed, after"},
		{"crashes", GuestTrap, "invalid memory address"},
		{"leaves", HostIO, "exit status 0"},
		{"babbles", GuestTrap, "sends what it must not"},
	} {
		t.Run(tt.does, func(t *testing.T) {
			h := apartHostFor(t, Config{})
			h.isolation = []string{self, ProcessArgument, tt.does}
			a := asm{body: []byte{0x41, 0}}
			m := guestOn(t, h, a.bytes(t))
			b := newBench(nil, device.Slots)
			b.grants.Wall = time.Hour
			begin := time.Now()
			_, err := m.Call(t.Context(), abi.Install, b.grants)
			if !errors.Is(err, tt.code) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s with %q", err, tt.code, tt.want)
			}
			t.Logf("%v after %v", err, time.Since(begin).Round(time.Millisecond))
		})
	}
}

// A frame is refused unless a process that keeps to the rules could send it.
func TestWireRefuses(t *testing.T) {
	functions := table()
	at := func(name string) int {
		return slices.IndexFunc(functions, func(i *entry) bool { return i.name == name })
	}
	good := func(name string, x Exchange) []byte {
		return encodeCall(nil, at(name), &x, functions[at(name)].letters())
	}
	read := good("art_read", Exchange{Args: []int64{160, 5}, Room: 9})
	put := good("kv_put", Exchange{In: [][]byte{[]byte("k"), []byte("value")}})
	for _, tt := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"a read", read, true},
		{"a write", put, true},
		{"nothing", nil, false},
		{"an unknown function", []byte{255, 255, 0, 0, 0, 0, 0, 0, 0, 0}, false},
		{"cut", read[:len(read)-1], false},
		{"longer", append(slices.Clone(read), 0), false},
		{"a cut buffer", put[:len(put)-1], false},
		{"too much room", good("art_read", Exchange{Args: []int64{160, 5}, Room: 65}), false},
		{"a buffer that is too large", good("mark", Exchange{In: [][]byte{make([]byte, 65)}}), false},
		{"negative fuel", good("now_ms", Exchange{Fuel: -1}), false},
	} {
		if _, x, err := decodeCall(tt.b, functions, 64); (err == nil) != tt.ok || err != nil && !errors.Is(err, errWire) {
			t.Errorf("%s: %+v, %v", tt.name, x, err)
		}
	}
}

// FuzzWire holds the host to believing nothing of what a process sends.
func FuzzWire(f *testing.F) {
	functions := table()
	for n, i := range functions {
		x := i.exchange(i.args(nil, &Exchange{Args: make([]int64, 8), In: [][]byte{[]byte("a"), nil, nil}}, make([]byte, 3)))
		f.Add(encodeCall(nil, n, &x, i.letters()))
	}
	f.Add([]byte(`{"class":1,"usage":{"Fuel":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		const memory = 64
		if e, err := decodeEnd(b); err == nil && (len(e.Detail) > endText || e.Usage.Fuel < 0) {
			t.Errorf("end %+v", e)
		}
		i, x, err := decodeCall(b, functions, memory)
		if err != nil {
			if !errors.Is(err, errWire) {
				t.Error(err)
			}
			return
		}
		room := make([]byte, max(x.Room, 0))
		a := i.args(nil, &x, room)
		if x.Room > memory || len(a.stack) != i.params {
			t.Errorf("%+v, stack %v", x, a.stack)
		}
		again := i.exchange(a)
		again.Fuel = x.Fuel
		if got := encodeCall(nil, slices.Index(functions, i), &again, i.letters()); !bytes.Equal(got, b) {
			t.Errorf("%x became %x", b, got)
		}
	})
}

func BenchmarkProcess(b *testing.B) {
	for _, tt := range []struct {
		name string
		h    *Host
	}{{"here", cached}, {"apart", apartHostFor(b, Config{Cache: cached.cache.dir, CacheKey: make([]byte, 32)})}} {
		for name, wasm := range map[string][]byte{"go": guests["compat"], "tiny": calls(op{"cancelled", nil}).bytes(b)} {
			b.Run(name+"/"+tt.name, func(b *testing.B) {
				m := guestOn(b, tt.h, wasm)
				for b.Loop() {
					if _, err := m.Call(b.Context(), abi.Compat, Grants{Facts: map[string]string{"model": "x"}, Settings: []byte(`{"models": ["a"]}`)}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run("100,000 calls/"+tt.name, func(b *testing.B) {
			spin := calls(op{name: "cancelled"})
			spin.locals = 1
			spin.body = slices.Concat([]byte{0x03, 0x40, 0x10, 0, 0x1a, 0x20, 1, 0x41, 1, 0x6a, 0x22, 1, 0x41}, sleb(100_000), []byte{0x48, 0x0d, 0, 0x0b, 0x41, 0})
			m := guestOn(b, tt.h, spin.bytes(b))
			for b.Loop() {
				if _, err := m.Call(b.Context(), abi.Install, newBench(nil, device.Slots).grants); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
