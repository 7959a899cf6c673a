package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Handles that a fresh instance gives first.
const (
	firstArtifact = 1<<7 | kindArtifact<<5
	firstTarget   = 1<<7 | kindTarget<<5
)

func TestGuestsThatDoNotEnd(t *testing.T) {
	loop := []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x41, 0} // loop br 0 end
	// A sleep of an hour through WASI: clock subscription at 0, event at 64.
	poll := asm{imports: [][3]string{{abi.WASI, "poll_oneoff", "iiii:i"}}, body: []byte{0x41, 0, 0x41, 0xc0, 0, 0x41, 1, 0x41, 0x80, 1, 0x10, 0}}
	sub := make([]byte, 48)
	sub[16] = 1
	copy(sub[24:], []byte{0x00, 0xa0, 0xb8, 0x30, 0x46, 0x03}) // 3.6e12 ns
	poll.data = string(sub)
	spin := calls(op{name: "cancelled"})
	spin.body = append([]byte{0x03, 0x40, 0x10, 0, 0x1a, 0x0c, 0, 0x0b}, 0x41, 0)
	for _, tt := range []struct {
		name string
		asm  asm
	}{
		{"a tight loop", asm{body: loop}},
		{"a loop of host calls", spin},
		{"a sleep", calls(op{"sleep_ms", []int64{3_600_000}})},
		{"a WASI sleep", poll},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(nil, device.Slots)
			b.grants.Clock = waiting{&clock{}}
			begin := time.Now()
			_, err := try(t, tt.asm, abi.Install, Limits{Wall: 50 * time.Millisecond}, b.grants)
			if !errors.Is(err, Wall) || time.Since(begin) > 10*time.Second {
				t.Errorf("error = %v after %v, want wall", err, time.Since(begin))
			}
		})
	}
	t.Run("limited by the grant", func(t *testing.T) {
		b := newBench(nil, device.Slots)
		b.grants.Wall = 20 * time.Millisecond
		if _, err := try(t, asm{body: loop}, abi.Install, Limits{}, b.grants); !errors.Is(err, Wall) {
			t.Errorf("error = %v, want wall", err)
		}
	})
	t.Run("cancelled by the caller", func(t *testing.T) {
		b := newBench(nil, device.Slots)
		m, err := tryLoad(t, asm{body: loop}.bytes(t), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancelCause(t.Context())
		why := errors.New("the operator said so")
		time.AfterFunc(20*time.Millisecond, func() { stop(why) })
		if _, err = m.Call(ctx, abi.Install, b.grants); !errors.Is(err, Cancelled) || !errors.Is(err, why) {
			t.Errorf("error = %v, want cancelled with its cause", err)
		}
	})
}

// waiting is a clock whose sleep lasts until the context ends.
type waiting struct{ *clock }

func (waiting) Sleep(ctx context.Context, d time.Duration) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestMemoryStaysBelowTheLimit(t *testing.T) {
	// loop: grow by one page until it fails, then return 3 if the size is right.
	grow := func(pages int64) []byte {
		b := []byte{0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b} // loop grow(1) != -1 br_if end
		return slices.Concat(b, []byte{0x3f, 0, 0x41}, sleb(pages), []byte{0x46, 0x41, 3, 0x6c})
	}
	for _, tt := range []struct {
		name        string
		want, grant int64
		pages       int64
	}{
		{"by default", 0, 0, 256},
		{"as granted", 0, 4 * mib, 64},
		{"as asked", 2 * mib, 64 * mib, 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := asm{body: grow(tt.pages), manifest: func(m *abi.Manifest) { m.Limits.Memory = abi.Bytes(tt.want) }}
			r, err := try(t, a, abi.Install, Limits{Memory: tt.grant}, newBench(nil, device.Slots).grants)
			if err != nil || r.Class != abi.Incompatible {
				t.Errorf("class %v, error %v, want the module to stop at %d pages", r.Class, err, tt.pages)
			}
		})
	}
}

func TestBadPointersTrap(t *testing.T) {
	const size = 64 << 10
	for _, tt := range []struct {
		name   string
		at, n  int64
		inside bool
	}{
		{"the whole memory", 0, size, true},
		{"the last byte", size - 1, 1, true},
		{"nothing at the end", size, 0, true},
		{"one byte too far", size - 1, 2, false},
		{"behind the end", size, 1, false},
		{"an overflow", -1, 2, false},
		{"all ones", -1, -1, false},
	} {
		for name, args := range map[string][]int64{
			"last_mark": {tt.at, tt.n}, "prop_list": {tt.at, tt.n}, "log": {1, tt.at, tt.n}, "progress": {0, 0, tt.at, tt.n},
			"prop_get": {tt.at, tt.n, 0, 0}, "kv_put": {0, 1, tt.at, tt.n}, "result_set": {tt.at, tt.n}, "art_open": {tt.at, tt.n},
			"tgt_open": {tt.at, tt.n, 1}, "config_get": {0, 0, tt.at, tt.n}, "kv_get": {0, 3, tt.at, tt.n}, "mark": {tt.at, tt.n},
			"random": {tt.at, tt.n},
		} {
			t.Run(name+" of "+tt.name, func(t *testing.T) {
				_, err := try(t, calls(op{name, args}), abi.Install, Limits{}, newBench(nil, device.Slots).grants)
				if trapped := errors.Is(err, GuestTrap); trapped == tt.inside {
					t.Errorf("error = %v, want a trap: %v", err, !tt.inside)
				}
			})
		}
	}
}

func TestHandlesThatAreNotGivenTrap(t *testing.T) {
	for _, tt := range []struct {
		name string
		ops  []op
		trap bool
	}{
		{"the right one", []op{{"art_open", []int64{0, 5}}, {"art_size", []int64{firstArtifact}}}, false},
		{"never opened", []op{{"art_size", []int64{firstArtifact}}}, true},
		{"zero", []op{{"art_open", []int64{0, 5}}, {"art_size", []int64{0}}}, true},
		{"negative", []op{{"art_open", []int64{0, 5}}, {"art_size", []int64{-1}}}, true},
		{"the next generation", []op{{"art_open", []int64{0, 5}}, {"art_size", []int64{firstArtifact + 1<<7}}}, true},
		{"the next place", []op{{"art_open", []int64{0, 5}}, {"art_size", []int64{firstArtifact + 1}}}, true},
		{"of another kind", []op{{"art_open", []int64{0, 5}}, {"tgt_sync", []int64{firstArtifact}}}, true},
		{"closed", []op{{"tgt_open", []int64{5, 3, 2}}, {"tgt_close", []int64{firstTarget}}, {"tgt_sync", []int64{firstTarget}}}, true},
		{"aborted", []op{{"tgt_open", []int64{5, 3, 2}}, {"tgt_abort", []int64{firstTarget}}, {"tgt_write", []int64{firstTarget, 0, 0, 1}}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := calls(tt.ops...)
			a.data = "imageout"
			_, err := try(t, a, abi.Install, Limits{}, newBench([]byte("123"), device.Slots).grants)
			if errors.Is(err, GuestTrap) != tt.trap {
				t.Errorf("error = %v, want a trap: %v", err, tt.trap)
			}
		})
	}
}

func TestFloodsAreCut(t *testing.T) {
	// The phase repeats one call 100,000 times.
	repeat := func(a asm, call []byte) asm {
		a.locals = 1
		a.body = slices.Concat([]byte{0x03, 0x40}, call,
			[]byte{0x20, 1, 0x41, 1, 0x6a, 0x22, 1, 0x41}, sleb(100_000), []byte{0x48, 0x0d, 0, 0x0b, 0x41, 0})
		return a
	}
	line := strings.Repeat("x", 99) + "\n"
	log := repeat(asm{imports: [][3]string{{abi.Module, "log", "iii:"}}, data: line},
		slices.Concat([]byte{0x41, 1, 0x41, 0, 0x41}, sleb(99), []byte{0x10, 0}))
	stdout := repeat(asm{imports: [][3]string{{abi.WASI, "fd_write", "iiii:i"}}, data: string([]byte{16, 0, 0, 0, 100, 0, 0, 0}) + "12345678" + line},
		[]byte{0x41, 1, 0x41, 0, 0x41, 1, 0x41, 8, 0x10, 0, 0x1a})
	for name, a := range map[string]asm{"log": log, "stdout": stdout} {
		t.Run(name, func(t *testing.T) {
			b := newBench(nil, device.Slots)
			_, err := try(t, a, abi.Install, Limits{}, b.grants)
			b.log = append([]string{""}, b.log...)
			got := len(strings.Join(b.log, ""))
			if err != nil || got < abi.MaxLog/2 || got > abi.MaxLog+4096 || !strings.Contains(b.log[len(b.log)-1], "were dropped") {
				t.Errorf("%d bytes of log, last %q, error %v", got, b.log[len(b.log)-1], err)
			}
		})
	}
	t.Run("progress", func(t *testing.T) {
		a := repeat(asm{imports: [][3]string{{abi.Module, "progress", "IIii:"}}}, []byte{0x42, 1, 0x42, 2, 0x41, 0, 0x41, 0, 0x10, 0})
		b := newBench(nil, device.Slots)
		heard := 0
		b.grants.Progress = func(done, total int64, text string) { heard++ }
		if _, err := try(t, a, abi.Install, Limits{}, b.grants); err != nil || heard < 2 || heard > 6 {
			t.Errorf("heard %d times in 0.1 seconds of the clock, error %v", heard, err)
		}
	})
	t.Run("key-values", func(t *testing.T) {
		a := calls(op{"kv_put", []int64{0, 1, 0, 20_000}}, op{"kv_put", []int64{1, 1, 0, 20_000}})
		a.data = "ab"
		_, err := try(t, a, abi.Install, Limits{}, newBench(nil, device.Slots).grants)
		wantReturn(t, err, abi.EQUOTA)
	})
	t.Run("handles", func(t *testing.T) {
		b := newBench(nil, device.Directory)
		ops := []op{{"tgt_open", []int64{0, 3, 2}}}
		data := "out"
		for i := range abi.MaxHandles {
			ops = append(ops, op{"tgt_entry", []int64{firstTarget, int64(3 + i*2), 2, 0o644}})
			data += fmt.Sprintf("%02d", i)
		}
		a := calls(ops...)
		a.data = data
		_, err := try(t, a, abi.Install, Limits{}, b.grants)
		wantReturn(t, err, abi.EMFILE)
		if len(b.door.handles) != 0 {
			t.Errorf("%d handles stayed open", len(b.door.handles))
		}
	})
}

// wantReturn checks that the phase returned errno, which is no class.
func wantReturn(t *testing.T, err error, errno abi.Errno) {
	t.Helper()
	if !errors.Is(err, ABI) || !strings.Contains(err.Error(), fmt.Sprintf("the phase returned %d", errno)) {
		t.Errorf("error = %v, want that the phase returned %d (%v)", err, int32(errno), errno)
	}
}

func TestExitAndTrapInEachPhase(t *testing.T) {
	exit := func(n byte) asm {
		return asm{imports: [][3]string{{abi.WASI, "proc_exit", "i:"}}, body: []byte{0x41, n, 0x10, 0, 0x41, 0}}
	}
	for phase := abi.Compat; phase <= abi.Cleanup; phase++ {
		for name, a := range map[string]asm{
			"unreachable": {body: []byte{0x00}}, "exit(0)": exit(0), "exit(7)": exit(7),
		} {
			t.Run(fmt.Sprint(phase, " ", name), func(t *testing.T) {
				b := newBench(nil, device.Slots)
				_, err := try(t, a, phase, Limits{}, b.grants)
				var own *Error
				if !errors.Is(err, GuestTrap) || !errors.As(err, &own) || own.Phase != phase || own.Module == "" {
					t.Errorf("error = %v, want guest-trap with its phase", err)
				}
				if b.journal.saves != 0 {
					t.Error("a phase that failed left a checkpoint")
				}
			})
		}
	}
	_, err := try(t, asm{body: []byte{0x00}}, abi.Install, Limits{}, newBench(nil, device.Slots).grants)
	var own *Error
	if !errors.As(err, &own) || !strings.Contains(own.Stack, "updraft_phase(i32) i32") {
		t.Errorf("stack = %q, want the guest's frames", own.Stack)
	}
}

// No file is reachable through WASI: there is no preopened folder.
func TestWASIHasNoFiles(t *testing.T) {
	for fd := range byte(8) {
		for _, path := range []string{"etc/passwd", ".", "../etc/passwd", "/etc/passwd"} {
			open := asm{imports: [][3]string{{abi.WASI, "path_open", "iiiiiIIii:i"}}, data: path}
			open.body = []byte{0x41, fd, 0x41, 0, 0x41, 0, 0x41, byte(len(path)), 0x41, 0, 0x42, 2, 0x42, 2, 0x41, 0, 0x41, 32, 0x10, 0}
			_, err := try(t, open, abi.Install, Limits{}, newBench(nil, device.Slots).grants)
			if !errors.Is(err, ABI) || !strings.Contains(err.Error(), "returned 8") {
				t.Errorf("path_open of %q at %d: %v, want errno 8", path, fd, err)
			}
		}
	}
	for _, f := range []string{"args_sizes_get", "environ_sizes_get"} {
		a := asm{imports: [][3]string{{abi.WASI, f, "ii:i"}}}
		a.body = []byte{0x41, 0, 0x41, 4, 0x10, 0, 0x1a, 0x41, 0, 0x28, 2, 0, 0x41, 4, 0x28, 2, 0, 0x6a} // the sum of both
		if r, err := try(t, a, abi.Install, Limits{}, newBench(nil, device.Slots).grants); err != nil || r.Class != abi.OK {
			t.Errorf("%s: class %d, error %v, want none", f, r.Class, err)
		}
	}
}

func TestPhasesAllowWhatTheContractSays(t *testing.T) {
	open := func(mode int64) op { return op{"tgt_open", []int64{5, 3, mode}} }
	for _, tt := range []struct {
		name  string
		phase abi.Phase
		mode  Mode
		ops   []op
		want  abi.Errno // 0: the class OK
	}{
		{"a compat module sees no target", abi.Compat, Write, []op{open(1)}, abi.EDENIED},
		{"nor a clock", abi.Compat, Write, []op{{"now_ms", nil}}, abi.EDENIED},
		{"nor key-values", abi.Compat, Write, []op{{"kv_flush", nil}}, abi.EDENIED},
		{"nor an artifact's bytes", abi.Compat, Write, []op{{"art_open", []int64{0, 5}}, {"art_read", []int64{firstArtifact, 0, 16, 1}}}, abi.EDENIED},
		{"prepare writes nothing", abi.Prepare, Write, []op{open(2)}, abi.EDENIED},
		{"a grant to read", abi.Install, Read, []op{open(2)}, abi.EDENIED},
		{"a grant of another mode", abi.Install, "admin", []op{open(1)}, abi.EDENIED},
		{"a role that is not bound", abi.Install, Write, []op{{"tgt_open", []int64{0, 5, 1}}}, abi.ENOENT},
		{"an unknown mode", abi.Install, Write, []op{open(3)}, abi.EINVAL},
		{"no commit while installing", abi.Install, Write, []op{open(2), {"tgt_commit", []int64{firstTarget}}}, abi.EDENIED},
		{"no write at commit", abi.Commit, Write, []op{open(2), {"tgt_write", []int64{firstTarget, 0, 0, 1}}}, abi.EDENIED},
		{"no commit of nothing", abi.Commit, Write, []op{open(2), {"tgt_commit", []int64{firstTarget}}}, abi.EINVAL},
		{"over the quota", abi.Install, Write, []op{open(2), {"tgt_write", []int64{firstTarget, 3, 0, 1}}}, abi.EQUOTA},
		{"at a huge offset", abi.Install, Write, []op{open(2), {"tgt_write", []int64{firstTarget, 1<<63 - 1, 0, 1}}}, abi.EINVAL},
		{"at a negative offset", abi.Install, Write, []op{open(2), {"tgt_write", []int64{firstTarget, -1, 0, 1}}}, abi.EINVAL},
		{"an entry of a slot", abi.Install, Write, []op{open(2), {"tgt_entry", []int64{firstTarget, 0, 5, 0}}}, abi.EINVAL},
		{"going back", abi.Install, Write, []op{
			{"art_open", []int64{0, 5}}, {"art_read", []int64{firstArtifact, 2, 16, 1}}, {"art_read", []int64{firstArtifact, 0, 16, 1}},
		}, abi.ESEQ},
		{"a copy beyond the quota", abi.Install, Write, []op{
			{"art_open", []int64{0, 5}}, open(2), {"svc_copy", []int64{firstArtifact, 0, firstTarget + 1, 2, -1}},
		}, abi.EQUOTA},
		{"a mark that is too large", abi.Install, Write, []op{{"mark", []int64{0, abi.MaxMark + 1}}}, abi.EQUOTA},
		{"no mark yet", abi.Install, Write, []op{{"last_mark", []int64{0, 8}}}, abi.ENOENT},
		{"a result that is no JSON", abi.Install, Write, []op{{"result_set", []int64{0, 5}}}, abi.EINVAL},
		{"an unknown digest", abi.Install, Write, []op{{"art_open", []int64{0, 5}}, {"art_digest", []int64{firstArtifact, 2, 0, 0}}}, abi.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench([]byte("123"), device.Slots)
			b.grants.Targets["out"] = Target{Ref: "rootfs@b", Type: device.Slots, Mode: tt.mode, Quota: 3}
			a := calls(tt.ops...)
			a.data = "imageout"
			_, err := try(t, a, tt.phase, Limits{}, b.grants)
			wantReturn(t, err, tt.want)
		})
	}
}

func TestEntriesStayBelowTheirTarget(t *testing.T) {
	for _, path := range []string{"..", "../x", "/etc/passwd", "a/../../x", "a//b", ".", "", "a/", `a\b`, "a\x00b"} {
		t.Run(path, func(t *testing.T) {
			b := newBench(nil, device.Directory)
			a := calls(op{"tgt_open", []int64{0, 3, 2}}, op{"tgt_entry", []int64{firstTarget, 3, int64(len(path)), 0o644}})
			a.data = "out" + path
			_, err := try(t, a, abi.Install, Limits{}, b.grants)
			wantReturn(t, err, abi.EINVAL)
		})
	}
}

func TestCheckpointOfAnotherModule(t *testing.T) {
	b := newBench(image(mib), device.Slots)
	m := load(t, "install")
	if _, err := m.Call(t.Context(), abi.Install, b.grants); err != nil {
		t.Fatal(err)
	}
	_, err := Install(t.Context(), load(t, "tree"), b.grants)
	if !errors.Is(err, ABI) || !strings.Contains(err.Error(), "the checkpoint is of module") {
		t.Errorf("error = %v, want abi", err)
	}
}

func TestGrantsThatAreMissing(t *testing.T) {
	m := load(t, "install")
	for _, tt := range []struct {
		name, want string
		take       func(*Grants)
	}{
		{"artifact", `no artifact is bound to the role "image"`, func(g *Grants) { g.Sources = nil }},
		{"target", `no target is bound to the role "out"`, func(g *Grants) { g.Targets = nil }},
		{"clock", "no clock is granted", func(g *Grants) { g.Clock = nil }},
	} {
		b := newBench(nil, device.Slots)
		tt.take(&b.grants)
		if _, err := m.Call(t.Context(), abi.Install, b.grants); !errors.Is(err, Denied) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("without %s: %v, want denied", tt.name, err)
		}
	}
	if _, err := m.Call(t.Context(), abi.Health, newBench(nil, device.Slots).grants); !errors.Is(err, Denied) {
		t.Errorf("a phase that is not served: %v, want denied", err)
	}
}

func TestArtifactsThatAreNotAsPromised(t *testing.T) {
	m := load(t, "install")
	for _, tt := range []struct {
		name, want string
		change     func(*memorySource) Source
	}{
		{"another digest", "want 00", func(s *memorySource) Source { s.digest = strings.Repeat("0", 64); return s }},
		{"shorter", "want 70001", func(s *memorySource) Source { return &sized{s, 70001} }},
		{"longer", "more than 69999", func(s *memorySource) Source { return &sized{s, 69999} }},
	} {
		b := newBench(image(70000), device.Slots)
		b.grants.Targets["out"] = Target{Ref: "rootfs@b", Type: device.Slots, Mode: Write}
		b.grants.Sources["image"] = tt.change(b.source)
		b.grants.Sealed = func(context.Context) error { t.Error("sealed"); return nil }
		_, err := Install(t.Context(), m, b.grants)
		if !errors.Is(err, HostIO) || !errors.Is(err, ErrArtifact) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want ErrArtifact", tt.name, err)
		}
		if len(b.door.stamps) != 0 {
			t.Errorf("%s: it was committed", tt.name)
		}
	}
}

type sized struct {
	*memorySource
	size int64
}

func (s *sized) Size() int64 { return s.size }

func TestCompat(t *testing.T) {
	m := load(t, "compat")
	for _, tt := range []struct {
		settings string
		facts    map[string]string
		want     abi.Class
		details  string
	}{
		{`{"models": ["gw-100", "gw-200"]}`, map[string]string{"model": "gw-200"}, abi.OK, ""},
		{`{"models": ["gw-100"]}`, map[string]string{"model": "gw-200"}, abi.Incompatible, "model gw-200 is not one of gw-100"},
		{`{"models": ["gw-100"]}`, nil, abi.Incompatible, "the device has no fact model"},
		{`{"models": []}`, map[string]string{"model": "a\"b\n"}, abi.Incompatible, "model a\"b\n is not one of "},
	} {
		r, err := m.Call(t.Context(), abi.Compat, Grants{Settings: []byte(tt.settings), Facts: tt.facts})
		if err != nil || r.Class != tt.want || r.Report.Details != tt.details {
			t.Errorf("%s: class %d, details %q, error %v; want %d, %q", tt.settings, r.Class, r.Report.Details, err, tt.want, tt.details)
		}
	}
	_, err := m.Call(t.Context(), abi.Compat, Grants{Settings: []byte(`{"models": 7}`)})
	if !errors.Is(err, GuestFailed) || !strings.Contains(err.Error(), "setting models") {
		t.Errorf("bad settings: %v, want guest-failed with the reason", err)
	}
}

func TestRollbackDropsWhatWasStaged(t *testing.T) {
	m := load(t, "install")
	b := newBench(image(mib), device.Slots)
	if _, err := m.Call(t.Context(), abi.Install, b.grants); err != nil || len(b.door.staged) != 1 {
		t.Fatal(err, len(b.door.staged))
	}
	for range 2 {
		if _, err := m.Call(t.Context(), abi.Rollback, b.grants); err != nil || len(b.door.staged) != 0 {
			t.Fatalf("error %v, %d staged", err, len(b.door.staged))
		}
	}
	b.grants.Journal = &memoryJournal{power: b.door.power} // of the next run
	if _, err := Install(t.Context(), m, b.grants); err != nil || b.door.stamps["rootfs@b"].SHA256 != b.source.digest {
		t.Errorf("install after rollback: %v", err)
	}
}

func TestCancelledCopyStops(t *testing.T) {
	m := load(t, "install")
	b := newBench(image(3*mib), device.Slots)
	asked := 0
	b.grants.Cancelled = func() bool { asked++; return asked > 3 }
	if _, err := Install(t.Context(), m, b.grants); !errors.Is(err, Cancelled) {
		t.Errorf("error = %v, want cancelled", err)
	}
	if b.source.read > mib {
		t.Errorf("%d bytes were read after the cancel", b.source.read)
	}
}

// Every function of the contract is bound, and nothing else.
func TestBindingsAreTheContract(t *testing.T) {
	bound := bindings()
	for _, f := range abi.Functions() {
		if b, ok := bound[f.Name]; !ok || b.do == nil || b.phases == 0 {
			t.Errorf("%s is not bound", f.Name)
		}
		delete(bound, f.Name)
	}
	for name := range bound {
		t.Errorf("%s is bound and not in the contract", name)
	}
}

func TestLoadLeavesLittleBehind(t *testing.T) {
	heap := func() (uint64, string) {
		runtime.GC()
		debug.FreeOSMemory()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc, resident()
	}
	h, err := New(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	before, rssBefore := heap()
	m, err := h.Load(t.Context(), guests["install"], Limits{Memory: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	peak := resident()
	after, rssAfter := heap()
	t.Logf("module %d KiB; heap %d KiB, then %d KiB; resident %s, %s after compiling, %s after freeing",
		len(guests["install"])>>10, before>>10, after>>10, rssBefore, peak, rssAfter)
	if after > before+16*mib {
		t.Errorf("%d bytes stay on the heap, want at most 16 MiB", after-before)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// resident is what the kernel says of the process, for the log.
func resident() string {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}
