package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
)

// SerialPort is a serial port that modules may be granted.
type SerialPort struct {
	// Path is the device, such as /dev/ttyS1.
	Path string `yaml:"path,required"`
	// Baud is the speed, 115200 if 0. Bytes have 8 bits, no parity and one stop bit.
	Baud int `yaml:"baud"`
}

const defaultBaud = 115200

// Port is an open serial port. Its calls end with [os.ErrDeadlineExceeded]
// when the deadline is past, also one that is set meanwhile.
type Port interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
}

// wire is a port behind a handle. Transfers wait for each other.
type wire struct {
	mu   sync.Mutex
	port Port
	name string
	baud int
}

// openPort opens a port of the device file.
func (f *Files) openPort(op Op) (Answer, error) {
	p, ok := f.config.Serial[op.Target]
	if !ok {
		return Answer{}, fmt.Errorf("serial port: %w (have %s)", ErrUnknown, strings.Join(slices.Sorted(maps.Keys(f.config.Serial)), ", "))
	}
	if f.env.Serial == nil {
		return Answer{}, fmt.Errorf("%w: serial ports are not possible here", ErrDenied)
	}
	baud := cmp.Or(p.Baud, defaultBaud)
	port, err := f.env.Serial(p.Path, baud)
	if errors.Is(err, errors.ErrUnsupported) {
		return Answer{}, err
	}
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	id, err := f.handles.add(&handle{run: op.Run, ref: op.Target, wire: &wire{port: port, name: op.Target, baud: baud}})
	return Answer{Handle: id}, err
}

func (f *Files) transfer(ctx context.Context, op Op) (Answer, error) {
	h, err := f.handles.get(op.Handle)
	if err != nil {
		return Answer{}, err
	}
	if h.wire == nil {
		return Answer{}, fmt.Errorf("it is no serial port: %w", ErrDenied)
	}
	n, err := h.wire.transfer(ctx, f.env.Clock, op)
	return Answer{N: n}, err
}

var errTransfer = errors.New("the time of the transfer is over")

// minWait lets a transfer without patience have what has arrived already.
const minWait = 5 * time.Millisecond

// transfer sends op.Bytes and fills op.Reply, as far as op.Wait allows.
func (w *wire) transfer(ctx context.Context, clock disk.Clock, op Op) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Ten bits a byte; the rest is for a driver that is held up.
	sending := time.Duration(len(op.Bytes))*10*time.Second/time.Duration(w.baud) + 5*time.Second
	err := w.within(ctx, clock, sending, func() error {
		_, err := w.port.Write(op.Bytes)
		return err
	})
	if err != nil {
		return 0, w.explain(ctx, "send", err)
	}
	if len(op.Reply) == 0 {
		return 0, nil
	}
	n := 0
	err = w.within(ctx, clock, max(op.Wait, minWait), func() (err error) {
		n, err = io.ReadFull(w.port, op.Reply)
		return err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		err = nil // so much came, and no more
	}
	return n, w.explain(ctx, "receive", err)
}

// within does one thing and ends it after d on the clock, or with ctx.
func (w *wire) within(ctx context.Context, clock disk.Clock, d time.Duration, do func() error) error {
	if err := w.port.SetDeadline(time.Time{}); err != nil {
		return err
	}
	ctx, stop := disk.WithTimeout(ctx, clock, d, errTransfer)
	defer stop()
	over := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		_ = w.port.SetDeadline(time.Unix(1, 0)) // a port that is gone has ended by itself
		close(over)
	})
	err := do()
	if !unhook() {
		<-over // so that it does not meet the next one
	}
	return err
}

func (w *wire) explain(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("it takes no bytes")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it was unplugged")
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnreachable, err)
}
