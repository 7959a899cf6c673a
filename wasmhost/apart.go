package wasmhost

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

const (
	maxMetered = 4 * abi.MaxModule
	// compileData is the memory of a process that compiles. What a guest may
	// have is limited anew before its first instruction.
	compileData = 512 << 20
	// killAfter is how long a process may go on after its host told it to end.
	killAfter = time.Second
	// stderrKept is how much of what a dying process says is looked at.
	stderrKept = 4 << 10
)

// apart calls the phase in a process of its own. The process holds the
// instance and counts its fuel; every call of the host comes here and is
// answered as for an instance in this process.
func (c *call) apart(ctx context.Context) (class abi.Class, err error) {
	memory := c.m.info.Memory.Granted
	if err := c.m.host.memory.take(memory); err != nil {
		return 0, c.fault(Memory, "", err)
	}
	defer c.m.host.memory.give(memory)
	p, err := c.m.host.launch(ctx, c.m, hello{Phase: c.phase, Fuel: c.tank.limit, CPU: int64(c.wall/time.Second)*2 + 2})
	if err != nil {
		return 0, c.unlaunched(ctx, err)
	}
	defer p.close()
	limited, stop := context.WithTimeoutCause(ctx, c.wall, errWall)
	defer stop()
	defer p.killOn(limited, killAfter)()
	s := apartServer{c: c, p: p, functions: table(), memory: memory}
	e, err := s.serve(limited)
	if err != nil {
		return 0, s.lost(limited, err)
	}
	c.usage.Fuel, c.usage.Memory, c.usage.Frames, c.usage.Calls = min(e.Usage.Fuel, c.tank.limit), e.Usage.Memory, e.Usage.Frames, e.Usage.Calls
	c.usage.Moved += e.Usage.Moved
	if e.Code != "" || c.failed != nil || c.trap != nil || limited.Err() != nil {
		return 0, s.ended(limited, e)
	}
	return e.Class, nil
}

// unlaunched says why there is no process.
func (c *call) unlaunched(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return c.fault(stopped(cause), "", cause)
	}
	var own *Error
	if errors.As(err, &own) {
		return c.fault(own.Code, own.Detail, own.Err)
	}
	return c.fault(HostIO, "", err)
}

// apartServer answers the process of one call.
type apartServer struct {
	c         *call
	p         *apartHost
	functions []*entry
	memory    int64
	in        []byte
	room      []byte
	out       []byte
}

// serve answers until the guest has ended.
func (s *apartServer) serve(ctx context.Context) (apartEnd, error) {
	if err := putFrame(s.p.in, frameGo, make([]byte, frameHead)); err != nil {
		return apartEnd{}, err
	}
	for {
		kind, b, err := getFrame(s.p.out, s.in, s.memory+endLimit)
		if s.in = b; err != nil {
			return apartEnd{}, err
		}
		switch {
		case kind == frameEnd && len(b) <= endLimit:
			return decodeEnd(b)
		case s.c.trap != nil:
			return apartEnd{}, fmt.Errorf("%w: it goes on after it was told to end", errWire)
		case kind == frameCall:
			err = s.call(ctx, b)
		case kind == frameCheck && len(b) == 8:
			err = s.check(ctx, int64(binary.LittleEndian.Uint64(b)))
		default:
			err = fmt.Errorf("%w: frame %d of %d bytes", errWire, kind, len(b))
		}
		if err != nil {
			return apartEnd{}, err
		}
		if s.c.panicked != nil {
			return apartEnd{}, s.c.trap // Call panics
		}
	}
}

func (s *apartServer) call(ctx context.Context, b []byte) error {
	i, x, err := decodeCall(b, s.functions, s.memory)
	if err != nil {
		return err
	}
	s.c.tank.given = x.Fuel
	if x.Room > len(s.room) {
		s.room = make([]byte, x.Room)
	}
	room := s.room[:max(x.Room, 0)]
	var answer int64
	s.guard(func() {
		if ctx.Err() != nil {
			s.c.check(ctx)
		}
		answer = s.c.serve(ctx, i, i.args(s.c, &x, room))
	})
	if s.c.trap != nil {
		return s.stop()
	}
	s.out = binary.LittleEndian.AppendUint64(append(s.out[:0], make([]byte, frameHead)...), uint64(answer))
	s.out = append(s.out, room[:filled(answer, x.Room)]...)
	return putFrame(s.p.in, frameAnswer, s.out)
}

func (s *apartServer) check(ctx context.Context, fuel int64) error {
	s.c.tank.given = max(fuel, 0)
	s.guard(func() { s.c.check(ctx) })
	if s.c.trap != nil {
		return s.stop()
	}
	return putFrame(s.p.in, frameAnswer, make([]byte, frameHead))
}

// guard calls do and takes the panic with which a function of the host ends an
// instance.
func (s *apartServer) guard(do func()) {
	defer func() {
		if p := recover(); p != nil && p != any(s.c.trap) {
			panic(p)
		}
	}()
	defer s.c.caught()
	do()
}

func (s *apartServer) stop() error {
	return putJSON(s.p.in, frameStop, recordedEnd{Code: s.c.trap.Code, Detail: s.c.trap.Detail})
}

// ended says why the guest ended, as [call.ended] does.
func (s *apartServer) ended(ctx context.Context, e apartEnd) error {
	c := s.c
	if c.failed != nil {
		return c.broken(ctx, c.failed)
	}
	if cause := context.Cause(ctx); cause != nil {
		c.trap = c.fault(stopped(cause), "", cause)
	}
	if c.trap == nil {
		switch e.Code {
		case GuestTrap, Fuel, Depth, Memory:
			c.trap = c.fault(e.Code, e.Detail, nil)
		default: // only the host can say so
			c.trap = c.fault(GuestTrap, "", fmt.Errorf("%w: an end of code %.20q", errWire, string(e.Code)))
		}
	}
	c.trap.Stack = c.m.named(e.Stack)
	return c.trap
}

// named gives the functions of a stack, which the process knows by their
// numbers, the names of the module.
func (m *Module) named(stack string) string {
	var b strings.Builder
	for line := range strings.Lines(stack) {
		b.WriteString(oneLine(m.frame("."+strings.TrimSpace(line)), maxFrame) + "\n")
	}
	return b.String()
}

// lost says why the process is gone or is not listened to any more.
func (s *apartServer) lost(ctx context.Context, err error) error {
	c := s.c
	c.usage.Fuel = min(c.tank.used(), c.tank.limit)
	s.p.close()
	switch cause := context.Cause(ctx); {
	case c.panicked != nil:
		return c.trap
	case c.failed != nil:
		return c.broken(ctx, c.failed)
	case cause != nil:
		return c.fault(stopped(cause), "", cause)
	case c.trap != nil:
		return c.trap
	case errors.Is(err, errWire):
		return c.fault(GuestTrap, "", err)
	}
	return c.fault(s.p.died())
}

// try compiles m in a process that then ends, for its errors and the cache. A
// module that this host has compiled before is not tried again.
func (h *Host) try(ctx context.Context, m *Module) error {
	h.compiling.Lock()
	known := h.tried[m.digest]
	h.compiling.Unlock()
	if known {
		return nil
	}
	p, err := h.launch(ctx, m, hello{Phase: abi.Compat})
	if err == nil {
		p.close()
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return m.refuse(HostIO, err)
}

// launch starts a process and lets it compile m, from the cache if that has it.
func (h *Host) launch(ctx context.Context, m *Module, hi hello) (p *apartHost, err error) {
	h.compiling.Lock()
	defer h.compiling.Unlock()
	hi.Module, hi.Engine, hi.Memory = m.digest, h.engine, m.info.Memory.Granted
	hi.CPU += int64(compileWall / time.Second)
	hi.Compile = compileData + hi.Memory
	defer func() { h.tried[m.digest] = err == nil }()
	if h.cache == nil {
		return h.begin(ctx, hi, m.metered)
	}
	err = h.cache.compile(m.metered, func(k wazero.CompilationCache, dir string) (err error) {
		if err := k.Close(ctx); err != nil {
			return err
		}
		hi.Cache = dir
		p, err = h.begin(ctx, hi, m.metered)
		return err
	})
	if err != nil && p != nil {
		p.close()
	}
	return p, err
}

// begin starts a process and waits until it has compiled the module.
func (h *Host) begin(ctx context.Context, hi hello, metered []byte) (*apartHost, error) {
	p, err := startApart(h.isolation)
	if err != nil {
		return nil, fmt.Errorf("start the module's process: %w", err)
	}
	limited, stop := context.WithTimeoutCause(ctx, compileWall, errCompile)
	defer stop()
	err = p.ready(limited, hi, metered)
	if err == nil {
		return p, nil
	}
	p.close()
	var own *Error
	switch {
	case errors.As(err, &own):
		return nil, err
	case ctx.Err() != nil:
		return nil, &Error{Code: Cancelled, Module: hi.Module, Err: context.Cause(ctx)}
	case limited.Err() != nil:
		return nil, &Error{Code: InvalidModule, Module: hi.Module, Err: errCompile}
	}
	code, detail, cause := p.died()
	return nil, &Error{Code: code, Module: hi.Module, Detail: "while it was compiled: " + detail, Err: cause}
}

// apartHost is the host's side of a process.
type apartHost struct {
	in, out *os.File // of the process
	cmd     *exec.Cmd
	stderr  head
	ended   chan struct{}
	once    sync.Once
}

// startApart starts the command. The thread that does is kept until the
// process has ended: the system ends the process with that thread.
func startApart(command []string) (*apartHost, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close() // the process has its own
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer theirOut.Close()
	p := &apartHost{in: in, out: out, cmd: exec.Command(command[0], command[1:]...), ended: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirIn, theirOut, &p.stderr
	p.cmd.Env, p.cmd.Dir, p.cmd.SysProcAttr, p.cmd.WaitDelay = []string{}, "/", apartAttributes(), killAfter
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		defer close(p.ended)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // died looks at the state
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	return p, nil
}

// ready tells the process what to do and waits until it can.
func (p *apartHost) ready(ctx context.Context, hi hello, metered []byte) error {
	defer p.killOn(ctx, 0)()
	if err := putJSON(p.in, frameHello, hi); err != nil {
		return err
	}
	if err := putFrame(p.in, frameModule, append(make([]byte, frameHead, frameHead+len(metered)), metered...)); err != nil {
		return err
	}
	kind, b, err := getFrame(p.out, nil, endLimit)
	switch {
	case err != nil:
		return err
	case kind == frameReady:
		return nil
	case kind != frameEnd:
		return errWire
	}
	e, err := decodeEnd(b)
	if err != nil {
		return err
	}
	return &Error{Code: e.Code, Module: hi.Module, Detail: e.Detail}
}

// killOn kills the process some time after ctx has ended, unless the function
// that it gives is called before.
func (p *apartHost) killOn(ctx context.Context, after time.Duration) (forget func()) {
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(after)
		defer t.Stop()
		select {
		case <-over:
		case <-t.C:
			p.kill()
		}
	})
	return func() {
		close(over)
		stop()
	}
}

func (p *apartHost) kill() { killGroup(p.cmd.Process) }

// close ends the process, if it has not ended, and waits for it.
func (p *apartHost) close() {
	p.once.Do(func() {
		p.kill()
		<-p.ended
		_ = errors.Join(p.in.Close(), p.out.Close()) // pipes
	})
}

// died says why a process that was not told to has ended. It is called after close.
func (p *apartHost) died() (Code, string, error) {
	said, _, _ := strings.Cut(p.stderr.String(), "\n")
	how := p.cmd.ProcessState.String()
	switch {
	// Go's runtime now and then finds other words for it.
	case strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory"):
		return Memory, fmt.Sprintf("the module's process ran out of memory (%s): %s", how, clean([]byte(said))), nil
	case said != "":
		return GuestTrap, fmt.Sprintf("the module's process ended (%s): %s", how, clean([]byte(said))), nil
	}
	return HostIO, "", fmt.Errorf("the module's process ended: %s, after %v of CPU time", how,
		(p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Round(time.Millisecond))
}

// head keeps the first bytes written to it.
type head struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b.Write(b[:min(len(b), max(0, stderrKept-h.b.Len()))])
	return len(b), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

var _ io.Writer = (*head)(nil)
