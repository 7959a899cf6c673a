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
		e := entry{name: f.Name, params: len(params), buffers: buffers(f.Type), wide: results == "I", binding: todo[f.Name]}
		b.NewFunctionBuilder().
			WithGoModuleFunction(api.GoModuleFunc(e.call), valueTypes(params), valueTypes(results)).
			Export(f.Name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// buffers finds the pointers in the type of a function: each is followed by
// its length.
func buffers(typ string) []int {
	var list []int
	at := 0
	for _, letter := range typ {
		switch letter {
		case ':':
			return list
		case 'r', 'w':
			list = append(list, at)
			at++
		}
		at++
	}
	return list
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

type entry struct {
	name    string
	params  int
	buffers []int // which of them are pointers
	wide    bool  // the result is an i64
	binding
}

// call runs the function for the instance that called it. The only panics
// that leave it end the instance; one that is not the host's own is kept, and
// Call lets it go on.
func (i entry) call(ctx context.Context, guest api.Module, stack []uint64) {
	c, _ := ctx.Value(callKey{}).(*call)
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p != any(c.trap) || c.trap == nil {
			c.panicked = p
			c.trap = c.fault(HostIO, "panic", nil)
		}
		panic(c.trap)
	}()
	if ctx.Err() != nil {
		c.trap = c.fault(Wall, i.name, nil) // [call.ended] knows better why
		panic(c.trap)
	}
	answer := int64(abi.EDENIED)
	if i.phases.has(c.phase) {
		answer = i.do(ctx, c, i.read(c, guest.Memory(), stack[:i.params]))
	}
	if len(stack) == 0 {
		return
	}
	if i.wide {
		stack[0] = api.EncodeI64(answer)
	} else {
		stack[0] = api.EncodeI32(int32(answer))
	}
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
func (i entry) read(c *call, mem api.Memory, stack []uint64) args {
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
	a.c.trap = a.c.fault(GuestTrap, a.name+": "+fmt.Sprintf(format, v...), nil)
	panic(a.c.trap)
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
