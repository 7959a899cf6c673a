package wasmhost

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// ProcessArgument is the one argument with which a program is started that
// calls [Isolated] and nothing else.
const ProcessArgument = "module-process"

// ProcessCommand is [Config.Isolation] for a program that looks for
// [ProcessArgument] first of all, or nil if the system does not tell which
// program this is.
func ProcessCommand() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, ProcessArgument}
}

// Isolated is the whole work of a process that [Config.Isolation] starts: it
// limits itself, compiles one module, runs one phase of it and asks the host
// over stdin and stdout for everything that the module asks. An error says
// that the host went away or that the process could not limit itself; how the
// module ended is told to the host.
func Isolated(stdin io.Reader, stdout io.Writer) error {
	p := &apartProcess{r: stdin, w: stdout}
	if err := p.begin(); err != nil {
		return err
	}
	m, err := p.compile()
	if err != nil {
		var own *Error
		if !errors.As(err, &own) {
			return err
		}
		return p.end(0, own, Usage{})
	}
	if err := putFrame(p.w, frameReady, make([]byte, frameHead)); err != nil {
		return err
	}
	switch kind, _, err := getFrame(p.r, nil, 0); {
	case err == io.EOF:
		return nil // only the compiled code was wanted
	case err != nil || kind != frameGo:
		return errors.Join(errWire, err)
	}
	if err := limitGuest(p.hello.Memory); err != nil {
		return fmt.Errorf("limit the process: %w", err)
	}
	return p.run(m)
}

// apartWall is the wall limit within the process: none, since the host looks
// at the clock.
const apartWall = 10 * 365 * 24 * time.Hour

// apartProcess is the side of the module.
type apartProcess struct {
	r      io.Reader
	w      io.Writer
	hello  hello
	wasm   []byte
	index  map[string]int // of functions in table
	in     []byte         // the last frame
	out    []byte
	broken error // the host went away
}

func (p *apartProcess) begin() error {
	kind, b, err := getFrame(p.r, nil, endLimit)
	if err == nil && kind != frameHello {
		err = errWire
	}
	if err == nil {
		err = json.Unmarshal(b, &p.hello)
	}
	if err != nil {
		return fmt.Errorf("this process is started by an updraft host: %w", err)
	}
	if err := limitCompile(p.hello.Compile, p.hello.CPU); err != nil {
		return fmt.Errorf("limit the process: %w", err)
	}
	kind, p.wasm, err = getFrame(p.r, nil, maxMetered)
	if err == nil && kind != frameModule {
		err = errWire
	}
	return err
}

// compile makes the module of what the host sent.
func (p *apartProcess) compile() (*Module, error) {
	h := &Host{engine: p.hello.Engine, memory: budget{left: p.hello.Memory}}
	m := &Module{host: h, digest: p.hello.Module, fuel: p.hello.Fuel}
	m.info.Memory.Granted = p.hello.Memory
	if p.hello.Cache == "" {
		return m, h.compile(context.Background(), m, p.wasm)
	}
	k, err := wazero.NewCompilationCacheWithDir(p.hello.Cache)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return m, h.compileIn(context.Background(), m, p.wasm, k)
}

// run calls the phase.
func (p *apartProcess) run(m *Module) error {
	p.wasm = nil
	p.index = map[string]int{}
	for n, i := range table() {
		p.index[i.name] = n
	}
	c := newCall(m, p.hello.Phase, &Grants{Wall: apartWall})
	c.serve = func(ctx context.Context, i *entry, a args) int64 { return p.forward(c, i, a) }
	c.ask = func() { p.check(c) }
	class, err := c.guest(context.Background())
	var own *Error
	if err != nil && !errors.As(err, &own) {
		return err
	}
	if p.broken != nil {
		return p.broken
	}
	return p.end(class, own, c.usage)
}

// forward lets the host answer a call.
func (p *apartProcess) forward(c *call, i *entry, a args) int64 {
	x := i.exchange(a)
	x.Fuel = c.tank.used()
	p.out = encodeCall(append(p.out[:0], make([]byte, frameHead)...), p.index[i.name], &x, i.letters())
	room := i.room(a)
	b := p.turn(c, frameCall, 8+len(room))
	if len(b) < 8 || len(b)-8 > len(room) {
		p.leave(c, errWire)
	}
	copy(room, b[8:])
	return int64(binary.LittleEndian.Uint64(b))
}

// check lets the host look at clock and cancel.
func (p *apartProcess) check(c *call) {
	p.out = binary.LittleEndian.AppendUint64(append(p.out[:0], make([]byte, frameHead)...), uint64(c.tank.used()))
	p.turn(c, frameCheck, 0)
}

// turn sends what is in p.out and gives the answer. It ends the instance if
// the host says so, or is gone.
func (p *apartProcess) turn(c *call, kind frame, limit int) []byte {
	if err := putFrame(p.w, kind, p.out); err != nil {
		p.leave(c, err)
	}
	kind, b, err := getFrame(p.r, p.in, int64(max(limit, endLimit)))
	if p.in = b; err != nil {
		p.leave(c, err)
	}
	switch kind {
	case frameAnswer:
		return b
	case frameStop:
		var e recordedEnd
		if err := json.Unmarshal(b, &e); err != nil {
			p.leave(c, err)
		}
		c.stop(e.Code, e.Detail, nil)
	}
	p.leave(c, errWire)
	return nil
}

// leave ends the instance, since nobody asks for its answer. It does not return.
func (p *apartProcess) leave(c *call, err error) {
	p.broken = fmt.Errorf("the host is gone: %w", err)
	c.stop(HostIO, "", p.broken)
}

func (p *apartProcess) end(class abi.Class, own *Error, u Usage) error {
	e := apartEnd{recordedEnd: recordedEnd{Class: class}, Usage: u}
	if own != nil {
		detail := own.Detail
		if own.Err != nil && detail == "" {
			detail = own.Err.Error()
		}
		e.Code, e.Detail, e.Stack = own.Code, detail[:min(len(detail), endText)], own.Stack[:min(len(own.Stack), endText)]
	}
	return putJSON(p.w, frameEnd, e)
}
