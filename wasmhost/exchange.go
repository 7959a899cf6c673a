package wasmhost

import (
	"context"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Exchange is one call of a function of the host with all that crossed
// between guest and host. Besides the functions of the contract there are
// four that WASI is made of: wasi.print, wasi.clock, wasi.random, wasi.sleep.
type Exchange struct {
	Number   int64 // in the phase, from 1
	Function string
	// Args are numbers, offsets and handles in their order, without pointers
	// and lengths.
	Args []int64
	In   [][]byte // what the host read
	// Room is the capacity of the buffer that the host may fill, -1 if the
	// function has none.
	Room   int
	Out    []byte // what the host filled in
	Answer int64  // 0 if the function has no result
	// Ended says why the call ended the instance, nil if it returned.
	Ended *Error
	Fuel  int64 // used by the phase up to the call, its own price included
}

// table lists every function that an instance may ask of the host. Its order
// is the same in all processes of one program.
func table() []*entry {
	var list []*entry
	todo := bindings()
	for _, f := range abi.Functions() {
		if b := todo[f.Name]; b.do != nil {
			list = append(list, newEntry(f.Name, f.Type, b))
		}
	}
	wasi := wasiEntries()
	return append(list, wasi[:]...)
}

// exchange makes an Exchange of a call that is not answered yet.
func (i *entry) exchange(a args) Exchange {
	x := Exchange{Function: i.name, Room: -1}
	at, buffer := 0, 0
	for _, letter := range i.letters() {
		switch letter {
		case 'i':
			x.Args = append(x.Args, int64(a.i32(at)))
		case 'I':
			x.Args = append(x.Args, a.i64(at))
		case 'r':
			x.In = append(x.In, a.memory[buffer])
		case 'w':
			x.Room = len(a.memory[buffer])
		}
		if letter == 'r' || letter == 'w' {
			buffer++
			at++
		}
		at++
	}
	return x
}

// args makes what a binding takes, with room as the buffer that it may fill.
// The pointers are zero: bindings look at the buffers alone.
func (i *entry) args(c *call, x *Exchange, room []byte) args {
	a := args{c: c, name: i.name, buffers: i.buffers, stack: make([]uint64, 0, i.params)}
	number, in, buffer := 0, 0, 0
	for _, letter := range i.letters() {
		switch letter {
		case 'i':
			a.stack = append(a.stack, api.EncodeI32(int32(x.Args[number])))
			number++
			continue
		case 'I':
			a.stack = append(a.stack, api.EncodeI64(x.Args[number]))
			number++
			continue
		case 'r':
			a.memory[buffer] = x.In[in]
			in++
		case 'w':
			a.memory[buffer] = room
		}
		a.stack = append(a.stack, 0, api.EncodeU32(uint32(len(a.memory[buffer]))))
		buffer++
	}
	return a
}

// letters are the parameters as abi.Function has them.
func (i *entry) letters() string {
	params, _, _ := strings.Cut(i.typ, ":")
	return params
}

// answers reports whether the function has a result.
func (i *entry) answers() bool { return !strings.HasSuffix(i.typ, ":") }

// room gives the guest's buffer that the host may fill, nil if there is none.
func (i *entry) room(a args) []byte {
	for n, fills := range i.fills {
		if fills {
			return a.memory[n]
		}
	}
	return nil
}

// filled is how many bytes of a buffer an answer says are filled.
func filled(answer int64, room int) int {
	if answer < 0 || answer > int64(room) {
		return 0 // an errno, or more than there is room for
	}
	return int(answer)
}

// listen answers with the bindings and lets the host's recorder and the
// grants' Trace hear of it. The host fills a buffer of its own, so that
// nothing reaches the guest but what is told.
func (c *call) listen(ctx context.Context, i *entry, a args) int64 {
	c.traced++
	x := i.exchange(a)
	x.Number, x.Fuel = c.traced, c.tank.used()
	room := make([]byte, max(x.Room, 0))
	defer func() {
		if x.Ended = c.trap; x.Ended != nil { // the panic goes on
			c.tell(&x)
		}
	}()
	answer := bound(ctx, i, i.args(c, &x, room))
	if i.answers() {
		x.Answer = answer
	}
	x.Out = room[:filled(answer, x.Room)]
	copy(i.room(a), x.Out)
	c.tell(&x)
	return answer
}

func (c *call) tell(x *Exchange) {
	if c.record != nil {
		c.record.exchange(x)
	}
	if c.g.Trace != nil {
		c.g.Trace(*x)
	}
}
