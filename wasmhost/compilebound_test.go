package wasmhost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasmhost/meter"
)

var everyShape = flag.Bool("every-shape", false, "TestCompileBound compiles modules of every shape, which takes minutes")

// shape is a kind of code that is dear to compile for its size: a function
// from an i32 to nothing, with locals, in which a statement is repeated.
type shape struct {
	name   string
	quick  bool // whether it belongs to the usual run of the test
	locals int
	before []byte
	again  func(i int) []byte // the i-th statement
	after  []byte
}

func local(n int) []byte { return append([]byte{0x20}, leb(n)...) }
func store(n int) []byte { return append([]byte{0x21}, leb(n)...) }

// use keeps all locals alive to the end.
func use(n int) []byte {
	var b []byte
	for i := range n {
		b = append(append(b, local(i)...), 0x24, 0)
	}
	return b
}

func shapes() []shape {
	again := func(parts ...[]byte) func(int) []byte {
		b := slices.Concat(parts...)
		return func(int) []byte { return b }
	}
	load := []byte{0x28, 0, 0}
	table := func(n int) []byte { // all targets are the same
		return slices.Concat([]byte{2, 0x40}, local(0), []byte{0x0e}, leb(n), make([]byte, n+1), []byte{0x0b})
	}
	loops := func(locals int) func(i int) []byte {
		return func(i int) []byte {
			x := i % locals
			return slices.Concat([]byte{3, 0x40}, local(x), []byte{0x41, 1, 0x6b}, store(x), local(x), []byte{0x0d, 0, 0x0b})
		}
	}
	return []shape{
		{"a mix", true, 400, bytes.Repeat([]byte{3, 0x40}, 3), mixed(400), append([]byte{0x0b, 0x0b, 0x0b}, use(400)...)},
		{"loops with many locals", true, 300, nil, loops(300), use(300)},
		{"calls by table", true, 1, nil, again(local(0), local(1), []byte{0x11, 0, 0}), nil},
		{"loops with the most locals", false, 1990, nil, loops(1990), use(1990)},
		{"loops in a row", false, 1, nil, loops(1), nil},
		{"ways out", false, 1, nil, again(local(0), []byte{4, 0x40, 0, 0x0b}), nil},
		{"ways out to one place", false, 100, []byte{2, 0x40}, func(i int) []byte {
			return slices.Concat(local(i%100), []byte{0x0d, 0}, local((i+1)%100), store((i+2)%100))
		}, append([]byte{0x0b}, use(100)...)},
		{"branch tables", false, 1, nil, again(table(4095)), nil},
		{"branches back to a far definition", false, 3, bytes.Repeat(append(local(0), 0x0d, 0), 500), again(local(1), []byte{0x24, 0}), nil},
		{"loads from far checks", false, 1, bytes.Repeat(append(local(0), 0x0d, 0), 500), again(local(1), load, []byte{0x24, 0}), nil},
		{"checks that are remembered", false, 1, bytes.Repeat(slices.Concat(local(0), load, store(0)), 3000), again(local(1), []byte{0x0d, 0}), nil},
		{"loads from what was loaded", false, 1, local(0), again(load), []byte{0x24, 0}},
		{"divisions", false, 1, nil, again(local(0), local(1), []byte{0x6d, 0x24, 0}), nil},
		{"comparisons with zero", false, 1, local(0), again([]byte{0x45}), []byte{0x24, 0}},
		{"sizes of the memory", false, 1, nil, again([]byte{0x3f, 0, 0x24, 0}), nil},
		{"fills", false, 1, nil, again(local(0), local(0), local(0), []byte{0xfc, 0x0b, 0}), nil},
		{"bytes that are counted", false, 1, append(local(0), 0xfd, 0x0f), again([]byte{0xfd, 0x62}), []byte{0xfd, 0x1b, 0, 0x24, 0}},
		{"vectors that are converted", false, 1, append(local(0), 0xfd, 0x0f), again([]byte{0xfd, 0xf9, 1}), []byte{0xfd, 0x1b, 0, 0x24, 0}},
		{"floats to integers", false, 1, local(0), again([]byte{0xb8, 0xb1, 0xa7}), []byte{0x24, 0}},
		{"locals out of registers", false, 1990, nil, func(i int) []byte {
			return slices.Concat(local(i%1990), local((7*i+1)%1990), []byte{0x6a}, store((3*i+2)%1990))
		}, use(1990)},
		{"empty loops in loops", false, 4, nil, again(bytes.Repeat([]byte{3, 0x40}, 30), bytes.Repeat(append(local(0), 0x0d, 0, 0x0b), 30)), nil},
	}
}

// mixed makes statements of many kinds, of which the i-th is always the same.
func mixed(locals int) func(i int) []byte {
	return func(i int) []byte {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		l := func() []byte { return local(r.IntN(locals)) }
		to := func() []byte { return store(r.IntN(locals)) }
		switch n := r.IntN(20); {
		case n < 6:
			return slices.Concat(l(), []byte{0x28, 2, 4}, to())
		case n < 11:
			return slices.Concat(l(), l(), []byte{0x11, 0, 0})
		case n < 13:
			return slices.Concat(l(), l(), []byte{0x36, 2, 8})
		case n < 14:
			return slices.Concat(l(), []byte{0x10, 0})
		case n < 15:
			return slices.Concat(l(), l(), []byte{0x6d}, to())
		case n < 16:
			return slices.Concat(l(), []byte{4, 0x40}, l(), to(), []byte{5}, l(), to(), []byte{0x0b})
		case n < 18:
			return slices.Concat(l(), []byte{0x0d}, leb(r.IntN(3)))
		}
		return slices.Concat([]byte{2, 0x40}, l(), []byte{0x0e, 3}, leb(1+r.IntN(3)), leb(1+r.IntN(3)), leb(1+r.IntN(3)), []byte{0, 0x0b})
	}
}

// module has count functions of k statements each.
func (s shape) module(k, count int) []byte {
	code := bytes.Clone(s.before)
	for i := range k {
		code = append(code, s.again(i)...)
	}
	body := slices.Concat([]byte{1}, leb(s.locals), []byte{0x7f}, code, s.after, []byte{0x0b})
	body = append(leb(len(body)), body...)
	functions, bodies := make([][]byte, count), make([][]byte, count)
	for i := range count {
		functions[i], bodies[i] = []byte{0}, body
	}
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		sec(1, typ("i:")), sec(3, functions...), sec(4, []byte{0x70, 0, 16}), sec(5, []byte{0, 1}),
		sec(6, []byte{0x7f, 1, 0x41, 0, 0x0b}), sec(10, bodies...))
}

// fill gives the largest module of the shape that the meter accepts: the
// largest functions, and as many of them as there may be.
func (s shape) fill(t *testing.T) []byte {
	t.Helper()
	accepted := func(wasm []byte) bool {
		_, err := meter.Rewrite(wasm, meter.Budget{})
		return err == nil
	}
	k := most(1<<20, func(k int) bool { return accepted(s.module(k, 1)) })
	count := most(20_000, func(n int) bool { return accepted(s.module(k, n)) })
	if k == 0 || count == 0 {
		t.Fatalf("the meter does not accept one function of one statement")
	}
	t.Logf("%d functions of %d statements", count, k)
	return s.module(k, count)
}

// most is the largest number up to limit for which fits, within a few percent.
func most(limit int, fits func(int) bool) int {
	low, high := 0, 1
	for high <= limit && fits(high) {
		low, high = high, 2*high
	}
	for high-low > 1+low/32 {
		if middle := (low + high) / 2; middle <= limit && fits(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// compiled is what a process says that compiled one module.
type compiled struct {
	CPU, Wall  time.Duration
	Before, At int64 // bytes: the most before and in all
	Err        string
}

// compileAlone is the work of that process. It compiles as Load does, with a
// cache.
func compileAlone(in io.Reader, out io.Writer) error {
	wasm, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "updraft-bound-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	h, err := New(ctx, Config{Cache: filepath.Join(dir, "cache"), CacheKey: make([]byte, 32), Engine: Compiler})
	if err != nil {
		return err
	}
	p, err := meter.Rewrite(wasm, meter.Budget{})
	if err != nil {
		return err
	}
	c := compiled{Before: peakMemory()}
	m := &Module{host: h, info: p.Info}
	begun, used := time.Now(), usedCPU()
	if err := h.compile(ctx, m, p.Wasm); err != nil {
		c.Err = err.Error()
	}
	c.Wall, c.CPU, c.At = time.Since(begun), usedCPU()-used, peakMemory()
	return json.NewEncoder(out).Encode(c)
}

func usedCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory is the most that this process had in memory.
func peakMemory() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(line, &kib)
	return kib << 10
}

// The dearest modules that the meter accepts compile within 30 s and 512 MiB.
func TestCompileBound(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("takes a minute, and asks Linux for the memory")
	}
	for _, s := range shapes() {
		if !s.quick && !*everyShape {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			wasm := s.fill(t)
			cmd := exec.Command(os.Args[0], ProcessArgument, compilesAlone)
			cmd.Stdin, cmd.Stderr = bytes.NewReader(wasm), os.Stderr
			text, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var c compiled
			if err := json.Unmarshal(text, &c); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes: %.1f s of CPU, %.1f s, %d MiB besides %d", len(wasm), c.CPU.Seconds(), c.Wall.Seconds(), (c.At-c.Before)>>20, c.Before>>20)
			if c.Err != "" {
				t.Errorf("error = %s", c.Err)
			}
			if c.CPU > 30*time.Second || c.At > 512*mib {
				t.Errorf("compiling takes %v of CPU and %d MiB, want at most 30 s and 512 MiB", c.CPU, c.At>>20)
			}
		})
	}
}

// A compilation stops between two functions, of which none takes long.
func TestCompileIsCancelled(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles for a while")
	}
	wasm := shapes()[1].fill(t)
	p, err := meter.Rewrite(wasm, meter.Budget{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(t.Context(), Config{Engine: Compiler})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("the run is over"))
	defer stop()
	used := usedCPU()
	err = h.compile(ctx, &Module{host: h, info: p.Info}, p.Wasm)
	t.Logf("stopped after %v of CPU", usedCPU()-used)
	if !errors.Is(err, Cancelled) || !strings.Contains(err.Error(), "the run is over") {
		t.Errorf("error = %v", err)
	}
	if used := usedCPU() - used; used > 5*time.Second {
		t.Errorf("it went on for %v", used)
	}
}

// compilesAlone is the second argument of such a process.
const compilesAlone = "compiles"
