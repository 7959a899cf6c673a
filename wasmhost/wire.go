package wasmhost

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Between a host and the process of a module go frames: a kind, the length of
// what follows as 32 bits, little endian, and that. The two take turns:
//
//	host                 process
//	hello, module   →
//	                ←    ready, or end if the module does not compile
//	go              →
//	                ←    call, check
//	answer, stop    →                    as often as it takes
//	                ←    end
//
// The host believes nothing of what comes: see decodeCall and decodeEnd.
type frame byte

const (
	frameHello  frame = iota + 1 // JSON, see hello
	frameModule                  // metered
	frameReady
	frameGo
	frameCall   // of a function: see encodeCall
	frameCheck  // fuel used: what refilling looks at, see call.check
	frameAnswer // the answer and what was filled in
	frameStop   // JSON of a recordedEnd: the instance is to end
	frameEnd    // JSON, see apartEnd
)

// hello is what a process needs to know.
type hello struct {
	Module  string    `json:"module"` // digest
	Phase   abi.Phase `json:"phase"`
	Engine  Engine    `json:"engine"`
	Memory  int64     `json:"memory"` // of the guest, bytes
	Fuel    int64     `json:"fuel"`
	CPU     int64     `json:"cpu"`             // seconds of the process
	Compile int64     `json:"compile"`         // bytes that compiling may take
	Cache   string    `json:"cache,omitempty"` // folder for wazero
}

// apartEnd is how a guest ended in its process.
type apartEnd struct {
	recordedEnd
	Stack string `json:"stack,omitempty"`
	Usage Usage  `json:"usage,omitzero"`
}

// errWire says that a frame is not one that may come.
var errWire = errors.New("the module's process sends what it must not")

const (
	frameHead = 5
	endLimit  = 256 << 10
	endText   = 64 << 10 // bytes of a detail or stack
)

// putFrame writes one frame, whose body stands behind frameHead free bytes.
func putFrame(w io.Writer, kind frame, b []byte) error {
	b[0] = byte(kind)
	binary.LittleEndian.PutUint32(b[1:], uint32(len(b)-frameHead))
	_, err := w.Write(b)
	return err
}

func putJSON(w io.Writer, kind frame, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return putFrame(w, kind, append(make([]byte, frameHead, frameHead+len(text)), text...))
}

// getFrame reads one frame of at most limit bytes into b, which may grow.
func getFrame(r io.Reader, b []byte, limit int64) (frame, []byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, b, err
	}
	size := int64(binary.LittleEndian.Uint32(head[1:]))
	if size > limit {
		return 0, b, fmt.Errorf("%w: a frame of %d bytes, at most %d", errWire, size, limit)
	}
	if size > int64(cap(b)) {
		b = make([]byte, size)
	}
	b = b[:size]
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, b, fmt.Errorf("%w: a frame is cut off: %w", errWire, err)
	}
	return frame(head[0]), b, nil
}

// encodeCall appends a call: the function's index in table, the fuel used,
// then the parameters: numbers as 32 or 64 bits, a buffer that the host reads
// as its length and bytes, one that it fills as its length.
func encodeCall(b []byte, index int, x *Exchange, letters string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(index))
	b = binary.LittleEndian.AppendUint64(b, uint64(x.Fuel))
	number, in := 0, 0
	for _, letter := range letters {
		switch letter {
		case 'i':
			b = binary.LittleEndian.AppendUint32(b, uint32(x.Args[number]))
			number++
		case 'I':
			b = binary.LittleEndian.AppendUint64(b, uint64(x.Args[number]))
			number++
		case 'r':
			b = binary.LittleEndian.AppendUint32(b, uint32(len(x.In[in])))
			b = append(b, x.In[in]...)
			in++
		case 'w':
			b = binary.LittleEndian.AppendUint32(b, uint32(x.Room))
		}
	}
	return b
}

// decodeCall reads what encodeCall wrote. The buffers share memory with b. No
// buffer is larger than memory. The error is errWire.
func decodeCall(b []byte, functions []*entry, memory int64) (*entry, Exchange, error) {
	d := wireReader{b: b}
	index, fuel := d.number(2), int64(d.number(8))
	if d.bad || index >= uint64(len(functions)) || fuel < 0 {
		return nil, Exchange{}, fmt.Errorf("%w: a call of function %d of %d", errWire, index, len(functions))
	}
	i := functions[index]
	x := Exchange{Function: i.name, Room: -1, Fuel: fuel}
	for _, letter := range i.letters() {
		switch letter {
		case 'i':
			x.Args = append(x.Args, int64(int32(d.number(4))))
		case 'I':
			x.Args = append(x.Args, int64(d.number(8)))
		case 'r':
			x.In = append(x.In, d.bytes(int64(d.number(4)), memory))
		case 'w':
			size := int64(d.number(4))
			d.bad = d.bad || size > memory
			x.Room = int(size)
		}
	}
	if d.bad || len(d.b) > 0 {
		return nil, Exchange{}, fmt.Errorf("%w: a call of %s with bad parameters", errWire, i.name)
	}
	return i, x, nil
}

// wireReader takes numbers and bytes from the front; what is missing is zero,
// and bad.
type wireReader struct {
	b   []byte
	bad bool
}

func (d *wireReader) bytes(n, limit int64) []byte {
	if n > limit || n > int64(len(d.b)) {
		d.bad, n = true, 0
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *wireReader) number(size int64) (v uint64) {
	for n, x := range d.bytes(size, size) {
		v |= uint64(x) << (8 * n)
	}
	return v
}

// decodeEnd reads how a guest ended. What it says of itself is believed as far
// as a guest could have ended so.
func decodeEnd(b []byte) (apartEnd, error) {
	var e apartEnd
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("%w: %w", errWire, err)
	}
	u := e.Usage
	if min(u.Fuel, u.Memory, u.Frames, u.Calls, u.Moved) < 0 {
		return e, fmt.Errorf("%w: negative usage", errWire)
	}
	e.Detail, e.Stack = e.Detail[:min(len(e.Detail), endText)], e.Stack[:min(len(e.Stack), endText)]
	return e, nil
}
