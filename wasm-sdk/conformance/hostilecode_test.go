package conformance

import (
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

// ends are the codes that a case ends in.
type ends = []wasmhost.Code

// hostileCases are all of them, in the order of their numbers.
func hostileCases() []hostile {
	return []hostile{
		{"a tight loop", ends{wasmhost.Fuel, wasmhost.Wall, wasmhost.InvalidModule}, tightLoop, nil},
		{"a loop before the phase", ends{wasmhost.InvalidModule, wasmhost.Fuel, wasmhost.Wall}, earlyLoop, nil},
		{"growing the memory in one step", ends{wasmhost.Fuel}, growBomb, nil},
		{"4 GiB declared", ends{wasmhost.Memory, wasmhost.InvalidModule, wasmhost.GuestTrap}, declared, nil},
		{"growing and filling the memory", ends{wasmhost.GuestTrap, wasmhost.Fuel}, growAndFill, nil},
		{"growing page by page", ends{wasmhost.GuestTrap, wasmhost.Fuel}, growByPage, nil},
		{"recursion without end", ends{wasmhost.Depth}, recursion, nil},
		{"a table of 100 million entries", ends{wasmhost.InvalidModule}, bigTable, nil},
		{"growing a table", ends{wasmhost.InvalidModule}, tableGrow, nil},
		{"sixty big tables", ends{wasmhost.InvalidModule}, manyTables, nil},
		{"exponential calls without a loop", ends{wasmhost.Fuel, wasmhost.Wall}, exponential, nil},
		{"a long sleep", ends{wasmhost.Wall}, longSleep, nil},
		{"a flood of stdout", ends{wasmhost.Fuel}, stdoutFlood, nil},
		{"millions of vectors", ends{wasmhost.ABI, wasmhost.Fuel}, manyVectors, nil},
		{"pointers out of range", ends{wasmhost.GuestTrap, wasmhost.GuestFailed}, badPointers, nil},
		{"64 MiB of random bytes", ends{wasmhost.Fuel}, muchRandom, nil},
		{"entering the host again", ends{wasmhost.ABI, wasmhost.GuestTrap, wasmhost.Depth, wasmhost.InvalidModule}, reentry, nil},
		{"a compile bomb, locals times blocks", ends{wasmhost.InvalidModule, wasmhost.GuestTrap}, compileBomb, nil},
		{"a branch table of 200,000", ends{wasmhost.InvalidModule}, bigBranchTable, nil},
		{"300,000 empty functions", ends{wasmhost.InvalidModule, wasmhost.GuestTrap}, manyFunctions, nil},
		{"49,000 locals", ends{wasmhost.InvalidModule}, manyLocals, nil},
		{"huge copies and fills in a loop", ends{wasmhost.Fuel, wasmhost.Wall, wasmhost.GuestTrap}, hugeBulk, nil},
		{"trap and exit in each phase", ends{wasmhost.GuestTrap}, trapAndExit, nil},
		{"paths through WASI", ends{wasmhost.GuestFailed}, wasiPaths, nil},
		{"planted symbolic links", ends{wasmhost.HostIO}, plantedLinks, nil},
		{"symbolic links of the module's own", ends{wasmhost.GuestFailed}, ownLinks, nil},
		{"using up descriptors", ends{wasmhost.Fuel}, manyHandles, nil},
		{"compressed bombs, too large a module", ends{wasmhost.InvalidModule, wasmhost.GuestFailed}, bombs, nil},
		{"floods of log, progress and key-values", ends{wasmhost.Fuel, wasmhost.GuestTrap, wasmhost.GuestFailed}, floods, nil},
		{"spinning on the clock", ends{wasmhost.Fuel, wasmhost.Wall}, spinning, nil},
		{"bombs of names and custom sections", ends{wasmhost.InvalidModule, wasmhost.GuestTrap, wasmhost.ABI, wasmhost.Denied, wasmhost.Depth}, nameBombs, nil},
		{"guessed, stale and foreign handles", ends{wasmhost.GuestTrap}, badHandles, nil},
		{"a journal of another module", ends{wasmhost.ABI}, nil, foreignJournal},
		{"a changed cache file", nil, nil, changedCache},
	}
}

// newStep is a module that serves every phase.
func newStep() *guest {
	return newGuest("hostile", abi.KindStep, abi.Compat, abi.Prepare, abi.Install, abi.Commit, abi.Rollback,
		abi.Health, abi.Cleanup, abi.Enumerate)
}

// doing ends the module with code for install and pages of memory.
func (g *guest) doing(pages int64, code ...asm.Code) []byte {
	return g.bytes(pages, map[abi.Phase]asm.Code{abi.Install: asm.Seq(code...)})
}

// shaped is a module whose code does nothing, with what add puts into it.
func shaped(add func(g *guest)) []byte {
	g := newStep()
	add(g)
	return g.doing(1)
}

// forever repeats code.
func forever(code ...asm.Code) asm.Code { return asm.Loop(asm.None, asm.Seq(code...), asm.Br(0)) }

func drop(code ...asm.Code) asm.Code { return asm.Seq(asm.Seq(code...), asm.Op(asm.Drop)) }

// byTheClock gives more fuel than there is time for, which the module has to
// ask for.
func byTheClock(tr trial) trial {
	m, err := abi.ReadManifest(tr.wasm)
	if err != nil {
		panic(err)
	}
	m.Limits.Fuel = 1 << 50
	if tr.wasm, err = abi.WithManifest(tr.wasm, m); err != nil {
		panic(err)
	}
	tr.name += ", by the clock"
	tr.limits.Fuel, tr.limits.Wall = 1<<50, clockWall
	tr.want = wasmhost.Wall
	return tr
}

func tightLoop() []trial {
	plain := trial{name: "an empty loop", wasm: newStep().doing(1, forever()), want: wasmhost.Fuel}
	nested := forever(asm.Loop(asm.None, asm.Get(0), asm.Op(asm.I32Eqz), asm.BrIf(0)))
	table := asm.Loop(asm.None, asm.Get(0), asm.BrTable(0, 0, 0))
	list := []trial{
		plain, byTheClock(plain),
		{name: "a loop in a loop", wasm: newStep().doing(1, nested), want: wasmhost.Fuel},
		{name: "a loop by a branch table", wasm: newStep().doing(1, table), want: wasmhost.Fuel},
		{name: "a long body", wasm: newStep().doing(1, forever(asm.Code(strings.Repeat("\x01", 100_000)))), want: wasmhost.Fuel},
	}
	// The host's own globals come behind those of the module.
	for at := range asm.Global(4) {
		list = append(list,
			trial{name: "that fills a tank of its own", wasm: newStep().doing(1, forever(asm.I64(1<<40), asm.SetGlobal(at))), want: wasmhost.InvalidModule},
			trial{name: "that looks into a tank", wasm: newStep().doing(1, forever(drop(asm.GetGlobal(at)))), want: wasmhost.InvalidModule})
	}
	return list
}

func earlyLoop() []trial {
	start := newStep()
	f := start.Func(":", nil, forever())
	start.Start(f)
	initialize := newStep()
	initialize.ExportFunc(abi.InitExport, initialize.Func(":", nil, forever()))
	wasm := initialize.doing(1)
	return []trial{
		{name: "in start", wasm: start.doing(1), want: wasmhost.InvalidModule},
		{name: "in " + abi.InitExport, wasm: wasm, want: wasmhost.Fuel},
		byTheClock(trial{name: "in " + abi.InitExport, wasm: wasm}),
	}
}

func grow(pages int32) asm.Code { return asm.Seq(asm.I32(pages), asm.MemoryGrow()) }

func growBomb() []trial {
	var list []trial
	for _, pages := range []int32{65535, 1 << 30, -1, 256, 255, 16} {
		list = append(list, trial{name: fmt.Sprintf("by %d pages", uint32(pages)), wasm: newStep().doing(1, forever(drop(grow(pages)))), want: wasmhost.Fuel})
	}
	return list
}

func declared() []trial {
	maximum := newStep()
	maximum.Memory(1, 65536)
	two := newStep()
	two.Memory(1, 1)
	asked := newStep()
	asked.manifest.Limits.Memory = 4 << 30
	return []trial{
		{name: "as the minimum", wasm: newStep().doing(65536), want: wasmhost.Memory},
		{name: "more than there can be", wasm: newStep().doing(65537), want: wasmhost.InvalidModule},
		{name: "one page more than is granted", wasm: newStep().doing(hostileMemory>>16 + 1), want: wasmhost.Memory},
		{name: "in the manifest", wasm: asked.doing(1), want: wasmhost.Memory},
		{name: "a second memory", wasm: two.doing(1), want: wasmhost.InvalidModule},
		{name: "data behind the end", wasm: shaped(func(g *guest) { g.Data(0x7fff_ffff, "x") }), want: wasmhost.GuestTrap},
	}
}

// fill is a memory.fill.
func fill(at, n int32) asm.Code {
	return asm.Seq(asm.I32(at), asm.I32(0x55), asm.I32(n), asm.MemoryFill())
}

func growAndFill() []trial {
	rich := wasmhost.Limits{Fuel: 20_000_000}
	return []trial{
		{name: "to the limit and beyond", wasm: newStep().doing(1, drop(grow(hostileMemory>>16-1)), fill(0, hostileMemory), fill(hostileMemory-1, 2)),
			limits: rich, want: wasmhost.GuestTrap},
		{name: "again and again", wasm: newStep().doing(1, drop(grow(hostileMemory>>16-1)), forever(fill(0, hostileMemory))),
			limits: rich, want: wasmhost.Fuel},
		{name: "of 64 MiB", wasm: withMemory(64<<20).doing(1, drop(grow(1023)), fill(0, 64<<20), asm.Op(asm.Unreachable)),
			limits: wasmhost.Limits{Memory: 64 << 20, Fuel: 50_000_000}, want: wasmhost.GuestTrap},
	}
}

// withMemory is a module that asks for more memory than the default.
func withMemory(n int64) *guest {
	g := newStep()
	g.manifest.Limits.Memory = abi.Bytes(n)
	return g
}

func growByPage() []trial {
	touch := asm.Seq(asm.MemorySize(), asm.I32(16), asm.Op(asm.I32Shl), asm.I32(4), asm.Op(asm.I32Sub), asm.I32(-1), asm.Mem(asm.I32Store, 0))
	stop := asm.Seq(grow(1), asm.I32(-1), asm.Op(asm.I32Eq), asm.If(asm.None, asm.Op(asm.Unreachable)))
	rich := wasmhost.Limits{Fuel: 5_000_000}
	return []trial{
		{name: "until it is refused", wasm: newStep().doing(1, forever(stop, touch)), limits: rich, want: wasmhost.GuestTrap},
		{name: "for ever", wasm: newStep().doing(1, forever(drop(grow(1)), touch)), want: wasmhost.Fuel},
	}
}

func recursion() []trial {
	// The function is the first one, so that its number is known within it.
	self := func(locals []asm.Locals, before ...asm.Code) []byte {
		g := newStep()
		f := g.Func(":", locals, asm.Seq(before...), asm.Call(0))
		return g.doing(1, asm.Call(f))
	}
	table := newStep()
	typ := table.Type(":")
	f := table.Func(":", nil, asm.I32(0), asm.CallIndirect(typ))
	table.Table(1, 1)
	table.Elements(0, f)
	mutual := newStep()
	mutual.Func(":", nil, asm.Call(1))
	mutual.Func(":", nil, asm.Call(0))
	deep := self(nil)
	var wide asm.Code // a thousand values on the stack while it calls
	for range 1000 {
		wide = asm.Seq(wide, asm.Get(0))
	}
	spread := newStep()
	spread.Func("I:", nil, wide, asm.Get(0), asm.Call(0), asm.Code(strings.Repeat("\x1a", 1000)))
	copies := newStep()
	copies.Func("I:", nil, asm.Code(strings.Repeat("\x20\x00", 50_000)), asm.Get(0), asm.Call(0), asm.Code(strings.Repeat("\x1a", 50_000)))
	return []trial{
		{name: "of a small function", wasm: deep, want: wasmhost.Depth},
		{name: "of one with 1,900 locals", wasm: self([]asm.Locals{{Count: 1900, Type: 'I'}}), want: wasmhost.Depth},
		{name: "of one with 1,900 vectors", wasm: self([]asm.Locals{{Count: 1900, Type: 'v'}}), want: wasmhost.Depth},
		{name: "of one with 1,000 values on the stack", wasm: spread.doing(1, asm.I64(1), asm.Call(0)), limits: wasmhost.Limits{Fuel: 20_000_000}, want: wasmhost.Depth},
		{name: "of one with 50,000 copies of a local on the stack", wasm: copies.doing(1, asm.I64(1), asm.Call(0)), limits: wasmhost.Limits{Fuel: 200_000_000}, want: wasmhost.Depth},
		{name: "through a table", wasm: table.doing(1, asm.Call(f)), want: wasmhost.Depth},
		{name: "of the phase", wasm: newStep().doing(1, drop(asm.Get(0), asm.Call(0))), want: wasmhost.Depth},
		{name: "of two functions", wasm: mutual.doing(1, asm.Call(0)), want: wasmhost.Depth},
	}
}

func bigTable() []trial {
	return []trial{
		{name: "100 million", wasm: shaped(func(g *guest) { g.Table(100_000_000, -1) }), want: wasmhost.InvalidModule},
		{name: "4,294,967,295", wasm: shaped(func(g *guest) { g.Table(1<<32-1, 1<<32-1) }), want: wasmhost.InvalidModule},
		{name: "one more than allowed", wasm: shaped(func(g *guest) { g.Table(abi.MaxTable+1, -1) }), want: wasmhost.InvalidModule},
	}
}

func tableGrow() []trial {
	null := asm.Code{0xd0, 0x70} // ref.null func
	return []trial{
		{name: "table.grow", wasm: withTable(null, asm.I32(1000), asm.Code{0xfc, 0x0f, 0}, asm.Op(asm.Drop)), want: wasmhost.InvalidModule},
		{name: "table.fill", wasm: withTable(asm.I32(0), null, asm.I32(1), asm.Code{0xfc, 0x11, 0}), want: wasmhost.InvalidModule},
		{name: "table.set", wasm: withTable(asm.I32(0), null, asm.Code{0x26, 0}), want: wasmhost.InvalidModule},
		{name: "table.size", wasm: withTable(asm.Code{0xfc, 0x10, 0}, asm.Op(asm.Drop)), want: wasmhost.InvalidModule},
	}
}

func withTable(code ...asm.Code) []byte {
	g := newStep()
	g.Table(1, -1)
	return g.doing(1, code...)
}

func manyTables() []trial {
	tables := func(n int, entries int64) []byte {
		return shaped(func(g *guest) {
			for range n {
				g.Table(entries, entries)
			}
		})
	}
	return []trial{
		{name: "sixty", wasm: tables(60, 10_000_000), want: wasmhost.InvalidModule},
		{name: "sixty allowed ones", wasm: tables(60, abi.MaxTable), want: wasmhost.InvalidModule},
		{name: "two", wasm: tables(2, 1), want: wasmhost.InvalidModule},
	}
}

func exponential() []trial {
	g := newStep()
	f := g.Func(":", nil)
	for range 50 {
		f = g.Func(":", nil, asm.Call(f), asm.Call(f))
	}
	plain := trial{name: "two to the power of 50", wasm: g.doing(1, asm.Call(f)), want: wasmhost.Fuel}
	return []trial{plain, byTheClock(plain)}
}

func hugeBulk() []trial {
	whole := func(code asm.Code) asm.Code { return forever(asm.I32(0), asm.I32(0), asm.I32(hostileMemory), code) }
	source := newStep()
	segment := source.Passive(strings.Repeat("x", 60_000))
	init := forever(asm.I32(0), asm.I32(0), asm.I32(60_000), asm.MemoryInit(segment))
	hash, read := newStep(), newStep()
	hashing := hash.doing(1, hash.openArtifact("image"),
		drop(hash.call("svc_hash", asm.Get(localArtifact), asm.I64(0), asm.I64(-1), asm.I32(abi.SHA256), room(64))))
	reading := read.doing(1, read.openArtifact("image"), drop(read.call("art_read", asm.Get(localArtifact), asm.I64(terabyte-1), room(1))))
	fill := trial{name: "memory.fill of 16 MiB", wasm: newStep().doing(256, whole(asm.MemoryFill())), want: wasmhost.Fuel}
	return []trial{
		fill, byTheClock(fill),
		{name: "memory.copy of 16 MiB", wasm: newStep().doing(256, whole(asm.MemoryCopy())), want: wasmhost.Fuel},
		{name: "memory.init of 60,000 bytes", wasm: source.doing(1, init), want: wasmhost.Fuel},
		byTheClock(trial{name: "svc_hash of a terabyte", wasm: hashing, setup: endless}),
		byTheClock(trial{name: "art_read at the end of a terabyte", wasm: reading, setup: endless}),
		{name: "4 GiB of a page", wasm: newStep().doing(1, asm.I32(0), asm.I32(0), asm.I32(-1), asm.MemoryFill()), want: wasmhost.GuestTrap},
	}
}

const terabyte = 1 << 40

// blank is zeros at every place.
type blank struct{}

func (blank) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// endless makes a terabyte the artifact.
func endless(s *Setup) {
	s.Artifacts = map[string]*Blob{"image": {bytes: blank{}, size: terabyte, digest: strings.Repeat("0", 64)}}
}

func longSleep() []trial {
	clock := func(s *Setup) { s.Clock = disk.Real() }
	limits := wasmhost.Limits{Wall: clockWall}
	g := newStep()
	sleep := g.doing(1, drop(g.call("sleep_ms", asm.I64(3_600_000))))
	w := newStep()
	poll := w.wasi("poll_oneoff", "iiii:i")
	w.Data(0, string(hourOfSleep()))
	naps := newStep()
	short := naps.doing(1, forever(drop(naps.call("sleep_ms", asm.I64(20)))))
	return []trial{
		{name: "sleep_ms of an hour", wasm: sleep, limits: limits, want: wasmhost.Wall, setup: clock},
		{name: "poll_oneoff of an hour", wasm: w.doing(1, drop(asm.I32(0), asm.I32(64), asm.I32(1), asm.I32(128), asm.Call(poll))),
			limits: limits, want: wasmhost.Wall, setup: clock},
		{name: "short naps for ever", wasm: short, limits: limits, want: wasmhost.Wall, setup: clock},
	}
}

// hourOfSleep is a subscription: user data, kind 0, at 16 the clock 1, at 24
// the nanoseconds.
func hourOfSleep() []byte {
	b := make([]byte, 48)
	b[16] = 1
	copy(b[24:], "\x00\xa0\xb8\x30\x46\x03") // 3.6e12 ns
	return b
}

// wasi imports a function of WASI.
func (g *guest) wasi(name, typ string) asm.Func {
	return g.Import(abi.WASI, name, typ)
}

func spinning() []trial {
	g := newStep()
	spin := forever(g.call("mono_ms"), asm.I64(1<<62), asm.Op(asm.I64GtS), asm.If(asm.None, asm.Op(asm.Unreachable)))
	plain := trial{name: "mono_ms until it is late", wasm: g.doing(1, spin), want: wasmhost.Fuel,
		setup: func(s *Setup) { s.Clock = disk.Real() }}
	still := newStep()
	now := still.wasi("clock_time_get", "iIi:i")
	wasm := still.bytes(1, map[abi.Phase]asm.Code{abi.Compat: forever(drop(asm.I32(1), asm.I64(1), asm.I32(0), asm.Call(now)))})
	return []trial{
		plain, byTheClock(plain),
		{name: "in compat, where the time stands still", wasm: wasm, phase: abi.Compat, want: wasmhost.Fuel},
	}
}

func trapAndExit() []trial {
	var list []trial
	for phase := abi.Compat; phase <= abi.Enumerate; phase++ {
		for _, status := range []int32{0, 7} {
			g := newStep()
			exit := g.wasi("proc_exit", "i:")
			wasm := g.bytes(1, map[abi.Phase]asm.Code{phase: asm.Seq(asm.I32(status), asm.Call(exit))})
			list = append(list, trial{name: fmt.Sprintf("exit(%d) in %s", status, phase), wasm: wasm, phase: phase, want: wasmhost.GuestTrap})
		}
		for name, code := range map[string]asm.Code{
			"unreachable":        asm.Op(asm.Unreachable),
			"division by zero":   drop(asm.I32(1), asm.I32(0), asm.Op(asm.I32DivS)),
			"a load far outside": drop(asm.I32(-1), asm.Mem(asm.I64Load, 1<<32-1)),
		} {
			wasm := newStep().bytes(1, map[abi.Phase]asm.Code{phase: code})
			list = append(list, trial{name: name + " in " + phase.String(), wasm: wasm, phase: phase, want: wasmhost.GuestTrap})
		}
	}
	return list
}
