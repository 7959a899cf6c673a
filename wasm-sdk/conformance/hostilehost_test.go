package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

func stdoutFlood() []trial {
	var list []trial
	for _, fd := range []int32{1, 2} {
		g := newStep()
		write := g.wasi("fd_write", "iiii:i")
		g.Data(0, "\x10\x00\x00\x00\x00\x80\x00\x00") // 32 KiB at 16
		g.Data(16, "flood\n")
		wasm := g.doing(1, forever(drop(asm.I32(fd), asm.I32(0), asm.I32(1), asm.I32(8), asm.Call(write))))
		list = append(list, trial{name: fmt.Sprintf("of descriptor %d", fd), wasm: wasm, want: wasmhost.Fuel})
	}
	return list
}

func manyVectors() []trial {
	writing := func(count int32, repeat bool) []byte {
		g := newStep()
		write := g.wasi("fd_write", "iiii:i")
		call := asm.Seq(asm.I32(1), asm.I32(0), asm.I32(count), asm.I32(8), asm.Call(write))
		if repeat {
			g.Data(0, strings.Repeat("\x00\x00\x00\x00\x00\x00\x10\x00", 1024)) // the first MiB each time
			return g.doing(256, forever(drop(call)))
		}
		return g.doing(256, call, asm.Op(asm.Return))
	}
	p := newStep()
	poll := p.wasi("poll_oneoff", "iiii:i")
	return []trial{
		{name: "two million", wasm: writing(2_000_000, false), want: wasmhost.ABI},
		{name: "more than there is memory", wasm: writing(1<<31-1, false), want: wasmhost.ABI},
		{name: "a gigabyte in each call", wasm: writing(1024, true), want: wasmhost.Fuel},
		{name: "a million subscriptions", wasm: p.doing(16, asm.I32(0), asm.I32(0), asm.I32(1_000_000), asm.I32(0), asm.Call(poll), asm.Op(asm.Return)), want: wasmhost.ABI},
	}
}

func muchRandom() []trial {
	g := withMemory(65 << 20)
	get := g.wasi("random_get", "ii:i")
	limits := wasmhost.Limits{Memory: 65 << 20, Fuel: 6_000_000}
	small := newStep()
	return []trial{
		{name: "at once, for ever", wasm: g.doing(1025, forever(drop(asm.I32(0), asm.I32(64<<20), asm.Call(get)))), limits: limits, want: wasmhost.Fuel},
		{name: "4 KiB each, for ever", wasm: small.doing(1, forever(drop(small.call("random", room(4096))))), want: wasmhost.Fuel},
	}
}

// reentry makes functions of the host what the host calls, and calls them
// from as deep as it can.
func reentry() []trial {
	var list []trial
	for _, name := range []string{"fd_close", "fd_sync", "proc_raise"} {
		g := newStep()
		wasm := exportImport(g, g.wasi(name, "i:i"))
		list = append(list, trial{name: name + " as the phase", wasm: wasm, want: wasmhost.ABI})
	}
	for _, name := range []string{"art_close", "tgt_sync", "tgt_commit", "tgt_abort", "tgt_close", "http_close"} {
		g := newStep()
		g.call(name)
		wasm := exportImport(g, g.imported[name])
		want := wasmhost.GuestTrap // the number of the phase is no handle
		if name == "tgt_commit" {
			want = wasmhost.ABI // not in install
		}
		list = append(list, trial{name: name + " as the phase", wasm: wasm, want: want})
	}
	for past := range asm.Func(4) { // the host's own functions come behind those of the module
		g := newStep()
		g.call("cancelled")
		wasm := g.doing(1, asm.Call(asm.Func(len(g.imported))+2+past))
		list = append(list, trial{name: "a function behind the last", wasm: wasm, want: wasmhost.InvalidModule})
	}
	g := newStep()
	ask := asm.Seq(drop(g.call("cancelled")), drop(g.call("phase_info", room(1000))))
	f := g.Func(":", nil, ask, asm.Call(asm.Func(len(g.imported))))
	return append(list, trial{name: "from each of many frames", wasm: g.doing(1, asm.Call(f)), want: wasmhost.Depth})
}

// exportImport is a module whose phase is an import.
func exportImport(g *guest, f asm.Func) []byte {
	g.Memory(1, -1)
	g.Export(abi.MemoryExport, asm.KindMemory, 0)
	g.ExportFunc(abi.PhaseExport, f)
	g.ExportFunc(fmt.Sprintf("%s%d_%d", abi.MarkerPrefix, abi.Major, abi.Minor), g.Func(":", nil))
	wasm, err := abi.WithManifest(g.Bytes(), g.manifest)
	if err != nil {
		panic(err)
	}
	return wasm
}

func floods() []trial {
	line := strings.Repeat("x", abi.MaxLine)
	flood := func(name string, make func(g *guest) asm.Code) trial {
		g := newStep()
		code := make(g)
		return trial{name: name, wasm: g.doing(1, forever(code)), want: wasmhost.Fuel}
	}
	// A key is the four bytes at 0, another one each time.
	next := asm.Seq(asm.I32(0), asm.I32(0), asm.Mem(asm.I32Load, 0), asm.I32(1), asm.Op(asm.I32Add), asm.Mem(asm.I32Store, 0))
	return []trial{
		manyEntries(), longReason(),
		flood("log", func(g *guest) asm.Code { return g.call("log", asm.I32(abi.LevelError), g.text(line)) }),
		flood("empty lines", func(g *guest) asm.Code { return g.call("log", asm.I32(-1), room(0)) }),
		flood("progress", func(g *guest) asm.Code { return g.call("progress", asm.I64(1), asm.I64(2), g.text(line)) }),
		flood("results", func(g *guest) asm.Code {
			return drop(g.call("result_set", g.text(fmt.Sprintf(`{"details":%q}`, strings.Repeat("y", 10_000)))))
		}),
		flood("keys", func(g *guest) asm.Code { return asm.Seq(next, drop(g.call("kv_put", room(4), g.text("value")))) }),
		flood("keys made durable", func(g *guest) asm.Code {
			return asm.Seq(next, drop(g.call("kv_put", room(4), g.text("value"))), drop(g.call("kv_flush")))
		}),
		flood("large values", func(g *guest) asm.Code {
			return asm.Seq(next, drop(g.call("kv_put", room(4), asm.I32(0), asm.I32(abi.MaxKV-100))))
		}),
		flood("marks", func(g *guest) asm.Code { return drop(g.call("mark", asm.I32(0), asm.I32(abi.MaxMark))) }),
	}
}

// manyEntries closes 5,000 entries of a directory, and asks for a checkpoint
// that has room for a fifth of them.
func manyEntries() trial {
	g := newStep()
	count := asm.Seq(asm.I32(0), asm.Mem(asm.I32Load, 0))
	// The name is the number as eight letters at 16, four bits each.
	var name asm.Code
	for i := range int32(8) {
		name = asm.Seq(name, asm.I32(16+i), count, asm.I32(4*i), asm.Op(asm.I32ShrU), asm.I32(15), asm.Op(asm.I32And),
			asm.I32('a'), asm.Op(asm.I32Add), asm.Mem(asm.I32Store8, 0))
	}
	open := g.call("tgt_entry", asm.Get(localTarget), asm.I32(16), asm.I32(8), asm.I32(0o644))
	each := asm.Seq(asm.I32(0), count, asm.I32(1), asm.Op(asm.I32Add), asm.Mem(asm.I32Store, 0),
		name, drop(g.call("tgt_close", open)), count, asm.I32(5_000), asm.Op(asm.I32LtS), asm.BrIf(0))
	wasm := g.doing(1, g.openTarget("tree"), asm.Loop(asm.None, each), drop(g.call("kv_flush")), asm.Op(asm.Unreachable))
	return trial{name: "entries", wasm: wasm, limits: wasmhost.Limits{Fuel: 10_000_000}, want: wasmhost.GuestTrap}
}

// longReason fails with a reason that would clear a terminal, and is long.
func longReason() trial {
	g := newStep()
	reason := `{"details":"\u001b[2J\u001b]0;updraft\u0007\n` + strings.Repeat("y", 15_000) + `"}`
	wasm := g.doing(1, drop(g.call("result_set", g.text(reason))), asm.I32(int32(abi.Failed)), asm.Op(asm.Return))
	return trial{name: "a long reason", wasm: wasm, want: wasmhost.GuestFailed}
}

func badHandles() []trial {
	trap := func(name string, make func(g *guest) asm.Code) trial {
		g := newStep()
		code := make(g)
		return trial{name: name, wasm: g.doing(1, code, asm.Op(asm.Return)), want: wasmhost.GuestTrap}
	}
	size := func(g *guest, h asm.Code) asm.Code { return asm.Seq(g.call("art_size", h), asm.Op(asm.I32WrapI64)) }
	var list []trial
	// 160, 192 and 224 are the first artifact, target and response of any other instance.
	for _, guess := range []int32{0, 1, 2, 3, 31, 32, 127, 128, 129, 160, 161, 192, 224, 255, 256, 1000, 65535, 1 << 20, 1<<31 - 1, -1, -1 << 31} {
		list = append(list, trap(fmt.Sprintf("the guess %d", guess), func(g *guest) asm.Code { return size(g, asm.I32(guess)) }))
	}
	art, tgt := asm.Get(localArtifact), asm.Get(localTarget)
	return append(list,
		trap("one more than was given", func(g *guest) asm.Code {
			return asm.Seq(g.openArtifact("image"), size(g, asm.Seq(art, asm.I32(1), asm.Op(asm.I32Add))))
		}),
		trap("the next generation", func(g *guest) asm.Code {
			return asm.Seq(g.openArtifact("image"), size(g, asm.Seq(art, asm.I32(128), asm.Op(asm.I32Add))))
		}),
		trap("a closed artifact", func(g *guest) asm.Code {
			return asm.Seq(g.openArtifact("image"), drop(g.call("art_close", art)), size(g, art))
		}),
		trap("closed and opened again", func(g *guest) asm.Code {
			again := asm.Seq(g.call("art_open", g.text("image")), asm.Set(localOther))
			return asm.Seq(g.openArtifact("image"), drop(g.call("art_close", art)), again, size(g, art))
		}),
		trap("closed twice", func(g *guest) asm.Code {
			return asm.Seq(g.openTarget("out"), drop(g.call("tgt_close", tgt)), g.call("tgt_close", tgt))
		}),
		trap("an aborted target", func(g *guest) asm.Code {
			return asm.Seq(g.openTarget("out"), drop(g.call("tgt_abort", tgt)), g.call("tgt_sync", tgt))
		}),
		trap("an artifact as a target", func(g *guest) asm.Code {
			return asm.Seq(g.openArtifact("image"), g.call("tgt_sync", art))
		}),
		trap("a target as an artifact", func(g *guest) asm.Code {
			return asm.Seq(g.openTarget("out"), size(g, tgt))
		}),
		trap("a target as a response", func(g *guest) asm.Code {
			return asm.Seq(g.openTarget("out"), g.call("tgt_write", asm.I32(-5), asm.I64(0), room(1)))
		}),
		trap("both sides of a copy", func(g *guest) asm.Code {
			return asm.Seq(g.openTarget("out"), g.call("svc_copy", tgt, asm.I64(0), tgt, asm.I64(0), asm.I64(-1)), asm.Op(asm.I32WrapI64))
		}),
	)
}

func manyHandles() []trial {
	entries := newStep()
	opening := asm.Seq(entries.openTarget("tree"),
		forever(drop(entries.call("tgt_entry", asm.Get(localTarget), entries.text("file"), asm.I32(0o644)))))
	files := newStep()
	path := newStep()
	open := path.wasi("path_open", "iiiiiIIii:i")
	many := asm.Seq(files.openTarget("tree"), asm.I32(0), asm.I32(0x41414141), asm.Mem(asm.I32Store, 0),
		forever(asm.I32(0), asm.I32(0), asm.Mem(asm.I32Load, 0), asm.I32(1), asm.Op(asm.I32Add), asm.Mem(asm.I32Store, 0),
			drop(files.call("tgt_entry", asm.Get(localTarget), room(4), asm.I32(0o644)))))
	return []trial{
		{name: "of one entry", wasm: entries.doing(1, opening), want: wasmhost.Fuel, real: true},
		{name: "of entries with other names", wasm: files.doing(1, many), want: wasmhost.Fuel, real: true},
		{name: "through WASI", wasm: path.doing(1, forever(drop(asm.I32(3), asm.I32(0), asm.I32(0), asm.I32(1), asm.I32(0), asm.I64(-1), asm.I64(-1),
			asm.I32(0), asm.I32(32), asm.Call(open)))), want: wasmhost.Fuel, real: true},
	}
}

// foreignJournal runs one module up to its checkpoint and another one behind it.
func foreignJournal(t *testing.T, h *wasmhost.Host, v *verdict) {
	first, second := installer(), installer()
	second.manifest.Version = "2.0.0"
	s := installSetup(device.Slots, 100_000)
	r, err := New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range []*guest{first, second} {
		tr := trial{name: fmt.Sprintf("module %d", i+1), wasm: g.bytes(1, g.installs())}
		l := tr.limited()
		begin := time.Now()
		usage, err := tr.run(t, h, r, l)
		v.took(time.Since(begin), l.Wall)
		v.Trials++
		v.Limit, v.Fuel = max(v.Limit, l.Memory), v.Fuel+usage.Fuel
		if i == 0 {
			if err != nil {
				v.fail("the journal's own module: %v", err)
			}
			continue
		}
		v.ended(tr.name, wasmhost.ABI, err)
	}
	if state, err := r.State(t.Context(), "out"); err != nil || state.Committed {
		v.fail("the target is %s, %v", state, err)
	}
}

// changedCache changes files of the cache of compiled code. The code that
// they hold then would end the process; instead the module is compiled anew
// and ends well.
func changedCache(t *testing.T, h *wasmhost.Host, v *verdict) {
	dir := filepath.Join(t.TempDir(), "cache")
	engine := wasmhost.Engine(strings.Fields(os.Getenv(playing))[1])
	v.Limit = hostileMemory
	load := func() {
		cached, err := wasmhost.New(t.Context(), wasmhost.Config{Cache: dir, CacheKey: make([]byte, 32), Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		v.alive(t, cached)
		v.took(time.Since(begin), hostileWall)
		v.Trials++
	}
	load()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if engine == wasmhost.Interpreter {
		if len(files) > 0 {
			v.fail("the interpreter keeps %q", files)
		}
		return
	}
	if len(files) != 1 {
		t.Fatalf("%d files in the cache, want 1", len(files))
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"all code replaced": append(append([]byte(nil), good[:len(good)/8]...), []byte(strings.Repeat("\xcc", len(good)-len(good)/8))...),
		"a bit in the code": flipped(good, len(good)/2),
		"a bit in the head": flipped(good, 3),
		"a bit in its name": flipped(good, 40),
		"a bit of the MAC":  flipped(good, len(good)-1),
		"the end cut off":   good[:len(good)-33],
		"nothing":           nil,
	} {
		if err := os.WriteFile(files[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		load()
		if now, err := os.ReadFile(files[0]); err != nil || string(now) == string(bad) {
			v.fail("%s: the file was not written anew (%v)", name, err)
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = append([]byte(nil), b...)
	b[at] ^= 1
	return b
}
