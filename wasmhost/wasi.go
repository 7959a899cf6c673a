package wasmhost

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// The shim of WASI preview 1: what the standard libraries of languages need
// to start, and no files. Every function exists, so that a module links.
// Those that read the guest's memory by pointers within pointers do so here;
// what is asked of the host goes through [call.host] as one of these four.
func wasiEntries() [4]*entry {
	return [4]*entry{
		wasiPrint:  newEntry("wasi.print", "ir:", binding{always, printText}),
		wasiClock:  newEntry("wasi.clock", "i:I", binding{always, readClock}),
		wasiRandom: newEntry("wasi.random", "w:i", binding{always, readRandom}),
		wasiSleep:  newEntry("wasi.sleep", "I:i", binding{always, sleepNanos}),
	}
}

const (
	wasiPrint = iota
	wasiClock
	wasiRandom
	wasiSleep
)

// Errnos of WASI that the shim answers.
const (
	wasiOK     = 0
	wasiBadf   = 8
	wasiInval  = 28
	wasiNosys  = 52
	wasiNotsup = 58
)

// Bounds of a single call. What is more is refused, or written in part.
const (
	maxVectors       = 1024
	maxPiece         = 64 << 10
	maxSubscriptions = 64
)

// stillAt is the time of day in compat.
const stillAt = 1_640_995_200 * int64(time.Second)

// wasiFunction is a function of preview 1. Without do it answers ENOSYS for
// the descriptors 0 to 2 in its first parameter, and EBADF for others.
type wasiFunction struct {
	typ string // in the notation of abi.Function.Wasm
	do  func(w *shim, p []uint64) uint32
}

// wasiFunctions are all of preview 1, from its witx files.
func wasiFunctions() map[string]wasiFunction {
	ok := func(*shim, []uint64) uint32 { return wasiOK }
	badf := func(*shim, []uint64) uint32 { return wasiBadf }
	nosys := func(*shim, []uint64) uint32 { return wasiNosys }
	return map[string]wasiFunction{
		"args_get":                {"ii:i", ok},
		"args_sizes_get":          {"ii:i", (*shim).none},
		"environ_get":             {"ii:i", ok},
		"environ_sizes_get":       {"ii:i", (*shim).none},
		"clock_res_get":           {"ii:i", (*shim).resolution},
		"clock_time_get":          {"iIi:i", (*shim).time},
		"fd_advise":               {"iIIi:i", nil},
		"fd_allocate":             {"iII:i", nil},
		"fd_close":                {"i:i", (*shim).descriptor},
		"fd_datasync":             {"i:i", nil},
		"fd_fdstat_get":           {"ii:i", (*shim).status},
		"fd_fdstat_set_flags":     {"ii:i", nil},
		"fd_fdstat_set_rights":    {"iII:i", nil},
		"fd_filestat_get":         {"ii:i", nil},
		"fd_filestat_set_size":    {"iI:i", nil},
		"fd_filestat_set_times":   {"iIIi:i", nil},
		"fd_pread":                {"iiiIi:i", nil},
		"fd_prestat_dir_name":     {"iii:i", badf},
		"fd_prestat_get":          {"ii:i", badf},
		"fd_pwrite":               {"iiiIi:i", nil},
		"fd_read":                 {"iiii:i", (*shim).read},
		"fd_readdir":              {"iiiIi:i", nil},
		"fd_renumber":             {"ii:i", nil},
		"fd_seek":                 {"iIii:i", nil},
		"fd_sync":                 {"i:i", nil},
		"fd_tell":                 {"ii:i", nil},
		"fd_write":                {"iiii:i", (*shim).write},
		"path_create_directory":   {"iii:i", badf},
		"path_filestat_get":       {"iiiii:i", badf},
		"path_filestat_set_times": {"iiiiIIi:i", badf},
		"path_link":               {"iiiiiii:i", badf},
		"path_open":               {"iiiiiIIii:i", badf},
		"path_readlink":           {"iiiiii:i", badf},
		"path_remove_directory":   {"iii:i", badf},
		"path_rename":             {"iiiiii:i", badf},
		"path_symlink":            {"iiiii:i", badf},
		"path_unlink_file":        {"iii:i", badf},
		"poll_oneoff":             {"iiii:i", (*shim).poll},
		"proc_exit":               {"i:", (*shim).exit},
		"proc_raise":              {"i:i", nosys},
		"random_get":              {"ii:i", (*shim).random},
		"sched_yield":             {":i", ok},
		"sock_accept":             {"iii:i", nil},
		"sock_recv":               {"iiiiii:i", nil},
		"sock_send":               {"iiiii:i", nil},
		"sock_shutdown":           {"ii:i", nil},
	}
}

// bindWASI puts the shim into a runtime.
func bindWASI(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(abi.WASI)
	entries := wasiEntries()
	for name, f := range wasiFunctions() {
		params, results, _ := strings.Cut(f.typ, ":")
		do := f.do
		if do == nil {
			do = (*shim).unsupported
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, guest api.Module, stack []uint64) {
			c, _ := ctx.Value(callKey{}).(*call)
			defer c.caught()
			c.enter(ctx)
			w := &shim{ctx: ctx, c: c, entries: &entries, name: name, memory: guest.Memory()}
			if errno := do(w, stack[:len(params)]); len(stack) > 0 {
				stack[0] = uint64(errno)
			}
		}), valueTypes(params), valueTypes(results)).Export(name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// shim is one call of a WASI function.
type shim struct {
	ctx     context.Context // of this call alone
	c       *call
	entries *[4]*entry
	name    string
	memory  api.Memory
}

// ask passes a request on, with numbers and at most one buffer.
func (w *shim) ask(which int, buffer []byte, numbers ...uint64) int64 {
	i := w.entries[which]
	a := args{c: w.c, name: i.name, stack: numbers, buffers: i.buffers}
	a.memory[0] = buffer
	return w.c.host(w.ctx, i, a)
}

// bytes is the guest's memory from at, or a trap.
func (w *shim) bytes(at, n uint64) []byte {
	b, ok := w.memory.Read(uint32(at), uint32(n))
	if n > 1<<32-1 || !ok {
		w.c.stop(GuestTrap, fmt.Sprintf("%s: bytes %d to %d are outside the memory of %d bytes", w.name, uint32(at), at&(1<<32-1)+n, w.memory.Size()), nil)
	}
	return b
}

func (w *shim) put32(at uint64, v uint32) { binary.LittleEndian.PutUint32(w.bytes(at, 4), v) }
func (w *shim) put64(at uint64, v uint64) { binary.LittleEndian.PutUint64(w.bytes(at, 8), v) }

// descriptor says whether p[0] is one of the three that exist.
func (w *shim) descriptor(p []uint64) uint32 {
	if uint32(p[0]) > 2 {
		return wasiBadf
	}
	return wasiOK
}

func (w *shim) unsupported(p []uint64) uint32 {
	if errno := w.descriptor(p); errno != wasiOK {
		return errno
	}
	return wasiNosys
}

// none answers that there are no arguments and no environment.
func (w *shim) none(p []uint64) uint32 {
	w.put32(p[0], 0)
	w.put32(p[1], 0)
	return wasiOK
}

func (w *shim) exit(p []uint64) uint32 {
	w.c.stop(GuestTrap, fmt.Sprintf("exit(%d) instead of a return", uint32(p[0])), nil)
	return wasiOK
}

// status says that the descriptors are terminals: libraries then write line by line.
func (w *shim) status(p []uint64) uint32 {
	if errno := w.descriptor(p); errno != wasiOK {
		return errno
	}
	const characterDevice, mayRead, mayWrite = 2, 1 << 1, 1 << 6
	b := w.bytes(p[1], 24)
	clear(b)
	b[0] = characterDevice
	b[8] = mayWrite
	if p[0] == 0 {
		b[8] = mayRead
	}
	return wasiOK
}

// read gives the end of stdin.
func (w *shim) read(p []uint64) uint32 {
	if uint32(p[0]) != 0 {
		return wasiBadf
	}
	w.put32(p[3], 0)
	return wasiOK
}

// write logs. Of a long text it takes the beginning, as WASI allows.
func (w *shim) write(p []uint64) uint32 {
	switch fd, n := uint32(p[0]), uint64(uint32(p[2])); {
	case fd != 1 && fd != 2:
		return wasiBadf
	case n > maxVectors:
		return wasiInval
	default:
		vectors, room := w.bytes(p[1], 8*n), uint64(maxPiece)
		w.c.charge(w.ctx, int64(n))
		for ; len(vectors) > 0 && room > 0; vectors = vectors[8:] {
			at, size := binary.LittleEndian.Uint32(vectors), binary.LittleEndian.Uint32(vectors[4:])
			b := w.bytes(uint64(at), uint64(size))
			b = b[:min(uint64(len(b)), room)]
			if len(b) > 0 {
				w.ask(wasiPrint, b, uint64(fd))
				room -= uint64(len(b))
			}
		}
		w.put32(p[3], uint32(maxPiece-room))
		return wasiOK
	}
}

func (w *shim) resolution(p []uint64) uint32 {
	if uint32(p[0]) > 1 {
		return wasiInval
	}
	w.put64(p[1], uint64(time.Microsecond))
	return wasiOK
}

func (w *shim) time(p []uint64) uint32 {
	if uint32(p[0]) > 1 {
		return wasiInval // the clocks of CPU time are left out
	}
	w.put64(p[2], uint64(w.ask(wasiClock, nil, p[0])))
	return wasiOK
}

func (w *shim) random(p []uint64) uint32 {
	for b := w.bytes(p[0], uint64(uint32(p[1]))); len(b) > 0; {
		piece := b[:min(len(b), maxPiece)]
		w.ask(wasiRandom, piece)
		b = b[len(piece):]
	}
	return wasiOK
}

// printText takes a descriptor and text.
func printText(_ context.Context, c *call, a args) int64 {
	c.out[a.i32(0)-1].write(a.bytes(1))
	return 0
}

// readClock takes the id of a clock and gives nanoseconds.
func readClock(_ context.Context, c *call, a args) int64 {
	wall := a.i32(0) == 0
	switch {
	case c.phase == abi.Compat && wall:
		return stillAt + int64(c.still)
	case c.phase == abi.Compat:
		return int64(c.still) + 1
	case wall:
		return c.g.Clock.Now().UnixNano()
	}
	// Go's runtime refuses to start at zero, where a virtual clock may begin.
	return int64(c.g.Clock.Mono()) + 1
}

func readRandom(_ context.Context, c *call, a args) int64 { return c.random(a.bytes(0)) }

func sleepNanos(ctx context.Context, c *call, a args) int64 {
	// A cancel cuts the sleep short: the guest hears of it elsewhere.
	if err := c.sleep(ctx, time.Duration(a.i64(0))); err != nil && err != error(abi.ECANCELED) {
		return int64(c.fail(err))
	}
	return 0
}
