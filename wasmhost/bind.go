package wasmhost

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// binding is the host's side of an import: when it may be called, and what it does.
type binding struct {
	phases phases
	do     func(ctx context.Context, c *call, a args) int64
}

// phases is a set of phases.
type phases uint16

func in(list ...abi.Phase) phases {
	var s phases
	for _, p := range list {
		s |= 1 << p
	}
	return s
}

func (s phases) has(p abi.Phase) bool { return s>>p&1 != 0 }

const always = ^phases(0)

// bindings says what each function of the contract does, and in which phases.
// A call in another phase is EDENIED.
func bindings() map[string]binding {
	var (
		working = in(abi.Prepare, abi.Install, abi.Commit, abi.Rollback, abi.Health, abi.Cleanup)
		writing = in(abi.Install, abi.Rollback, abi.Cleanup)
		moving  = in(abi.Install, abi.Rollback)
		judging = in(abi.Compat, abi.Install, abi.Rollback)
		turning = in(abi.Install, abi.Commit, abi.Rollback) // when something outside of targets may take hold
		talking = in(abi.Install, abi.Rollback, abi.Health)
		asking  = turning | in(abi.Enumerate)
		timed   = working | in(abi.Enumerate)
	)
	return map[string]binding{
		"log":          {always, hostLog},
		"progress":     {always, hostProgress},
		"result_set":   {always, hostResult},
		"cancelled":    {always, hostCancelled},
		"fuel_left":    {always, hostFuel},
		"phase_info":   {always, hostInfo},
		"prop_get":     {always, hostFact},
		"prop_list":    {always, hostFacts},
		"config_get":   {always, hostSetting},
		"art_open":     {judging, artOpen},
		"art_size":     {judging, artSize},
		"art_digest":   {judging, artDigest},
		"art_read":     {moving, artRead},
		"art_entry":    {moving, artEntry},
		"art_close":    {judging, artClose},
		"tgt_open":     {working, tgtOpen},
		"tgt_entry":    {working, tgtEntry},
		"tgt_read":     {working, tgtRead},
		"tgt_size":     {working, tgtSize},
		"tgt_close":    {working, tgtClose},
		"tgt_write":    {writing, tgtWrite},
		"tgt_truncate": {writing, tgtTruncate},
		"tgt_sync":     {writing, tgtSync},
		"tgt_commit":   {in(abi.Commit), tgtCommit},
		"tgt_abort":    {in(abi.Install, abi.Commit, abi.Rollback), tgtAbort},
		"svc_copy":     {moving, svcCopy},
		"svc_unpack":   {moving, svcUnpack},
		"svc_hash":     {working, svcHash},
		"svc_patch":    {moving, svcPatch},
		"svc_inflate":  {moving, svcInflate},
		"svc_verify":   {working, svcVerify},
		"kv_get":       {working, kvGet},
		"kv_put":       {working, kvPut},
		"kv_del":       {working, kvDelete},
		"kv_list":      {working, kvList},
		"kv_flush":     {working, kvFlush},
		"mark":         {working, mark},
		"last_mark":    {working, lastMark},
		"now_ms":       {timed, timeNow},
		"mono_ms":      {timed, timeMono},
		"sleep_ms":     {timed, timeSleep},
		"random":       {timed, timeRandom},

		"http_do":     {talking, httpDo},
		"http_answer": {talking, httpAnswer},
		"http_read":   {talking, httpRead},
		"http_close":  {talking, httpClose},
		"serial_xfer": {asking, serialTransfer},

		"exec":           {turning, hostExec},
		"exec_output":    {turning, hostExecOutput},
		"reboot_request": {turning, hostReboot},
	}
}

// bind puts the functions into a runtime.
func bind(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(abi.Module)
	todo := bindings()
	for _, f := range abi.Functions() {
		if todo[f.Name].do == nil {
			continue
		}
		params, results, _ := strings.Cut(f.Wasm(), ":")
		b.NewFunctionBuilder().
			WithGoModuleFunction(api.GoModuleFunc(newEntry(f.Name, f.Type, todo[f.Name]).call), valueTypes(params), valueTypes(results)).
			Export(f.Name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func valueTypes(s string) []api.ValueType {
	var list []api.ValueType
	for _, b := range s {
		if b == 'I' {
			list = append(list, api.ValueTypeI64)
		} else {
			list = append(list, api.ValueTypeI32)
		}
	}
	return list
}

// entry is a function of the host as a module sees it.
type entry struct {
	name    string
	typ     string // in the notation of abi.Function
	params  int    // numbers, two for each buffer
	buffers []int  // which of them are pointers; the length follows
	fills   []bool // whether the host fills that buffer (w) or reads it (r)
	wide    bool   // the result is an i64
	binding
}

// newEntry makes the entry of a function whose type is in the notation of
// [abi.Function].
func newEntry(name, typ string, b binding) *entry {
	params, result, _ := strings.Cut(typ, ":")
	i := &entry{name: name, typ: typ, wide: result == "I", binding: b}
	for _, letter := range params {
		if letter == 'r' || letter == 'w' {
			i.buffers = append(i.buffers, i.params)
			i.fills = append(i.fills, letter == 'w')
			i.params++
		}
		i.params++
	}
	return i
}

// call runs the function for the instance that called it.
func (i *entry) call(ctx context.Context, guest api.Module, stack []uint64) {
	c, _ := ctx.Value(callKey{}).(*call)
	defer c.caught()
	c.enter(ctx)
	answer := c.host(ctx, i, i.read(c, guest.Memory(), stack[:i.params]))
	if len(stack) == 0 {
		return
	}
	if i.wide {
		stack[0] = api.EncodeI64(answer)
	} else {
		stack[0] = api.EncodeI32(int32(answer))
	}
}

// caught is deferred in every function that wazero calls. The only panics
// that go on end the instance; one that is not the host's own is kept, and
// Call lets it go on.
func (c *call) caught() {
	p := recover()
	if p == nil {
		return
	}
	if p != any(c.trap) || c.trap == nil {
		c.panicked = p
		c.trap = c.fault(HostIO, "panic", nil)
	}
	panic(c.trap)
}

// enter is the beginning of every import, WASI too: it is counted, paid and
// refused when the phase's time is over.
func (c *call) enter(ctx context.Context) {
	c.usage.Calls++
	if ctx.Err() != nil {
		c.check(ctx)
	}
	c.charge(ctx, callFuel)
}

// host is the one place where what a module asks is answered: the functions
// of the contract, and those four that the WASI shim leaves to the host. All
// that comes in is in a, and all that goes out in its buffers and the answer.
func (c *call) host(ctx context.Context, i *entry, a args) int64 {
	moved := int64(0)
	for _, b := range a.memory[:len(i.buffers)] {
		moved += int64(len(b))
	}
	c.charge(ctx, moved/bytesFuel)
	answer := c.serve(ctx, i, a)
	for n, fills := range i.fills {
		if size := int64(len(a.memory[n])); fills {
			moved -= size - min(max(answer, 0), size)
		}
	}
	c.usage.Moved += moved
	return answer
}

// bound answers by the table of bindings.
func bound(ctx context.Context, i *entry, a args) int64 {
	if !i.phases.has(a.c.phase) {
		return int64(abi.EDENIED)
	}
	return i.do(ctx, a.c, a)
}

// args are what the guest passed.
type args struct {
	c       *call
	name    string // of the function
	stack   []uint64
	memory  [3][]byte // the buffers, in their order
	buffers []int     // where in stack each of them stands
}

// read finds the guest's buffers; one that is not in its memory traps.
func (i *entry) read(c *call, mem api.Memory, stack []uint64) args {
	a := args{c: c, name: i.name, stack: stack, buffers: i.buffers}
	for n, k := range i.buffers {
		at, size := api.DecodeU32(stack[k]), api.DecodeU32(stack[k+1])
		b, ok := mem.Read(at, size)
		if !ok {
			a.trap("bytes %d to %d are outside the memory of %d bytes", at, int64(at)+int64(size), mem.Size())
		}
		a.memory[n] = b
	}
	return a
}

func (a args) i32(n int) int32 { return api.DecodeI32(a.stack[n]) }
func (a args) i64(n int) int64 { return int64(a.stack[n]) }

// trap ends the instance: the module broke the contract.
func (a args) trap(format string, v ...any) {
	a.c.stop(GuestTrap, a.name+": "+fmt.Sprintf(format, v...), nil)
}

// bytes gives the guest's memory at the pointer in n and the length behind
// it. It is good for the call alone.
func (a args) bytes(n int) []byte { return a.memory[slices.Index(a.buffers, n)] }

// text is a copy of bytes; longer ones than limit are EINVAL.
func (a args) text(n, limit int) (string, bool) {
	b := a.bytes(n)
	if len(b) > limit {
		return "", false
	}
	return string(b), true
}

// answer fills the guest's buffer at n, or asks for a larger one.
func (a args) answer(n int, text []byte) int64 {
	if b := a.bytes(n); len(text) <= len(b) {
		copy(b, text)
	}
	return int64(len(text))
}

// names is a list as the contract writes it.
func names(list []string) []byte {
	var b []byte
	for _, name := range list {
		b = append(append(b, name...), 0)
	}
	return b
}
