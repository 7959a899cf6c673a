//go:build linux

package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/updraft-ota/updraft/internal/disk"
)

// terminal gives the far side of a pseudo-terminal and the path of the near one.
func terminal(t *testing.T) (far *os.File, path string) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	t.Cleanup(func() { far.Close() }) // some cases close it before
	raw, err := far.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n, failed := 0, error(nil)
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			n, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return far, fmt.Sprint("/dev/pts/", n)
}

func portDoor(t *testing.T, path string, clock disk.Clock) (*Files, int64) {
	t.Helper()
	f, err := New(Config{File: "/d/device.yaml", Serial: map[string]SerialPort{"mcu": {Path: path}, "odd": {Path: path, Baud: 12345}, "gone": {Path: path + "x"}}},
		Env{FS: disk.OS(), Clock: clock, Serial: OpenSerial})
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.Do(t.Context(), Op{Kind: OpenPort, Run: "r", Target: "mcu"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Do(context.Background(), Op{Kind: Close, Handle: a.Handle}) })
	return f, a.Handle
}

func TestSerialTransfer(t *testing.T) {
	far, path := terminal(t)
	f, port := portDoor(t, path, disk.Real())
	// The far side answers each byte with its successor: no byte may be
	// changed on the way, as a terminal that is not raw does.
	go func() {
		b := make([]byte, 1)
		for {
			if _, err := far.Read(b); err != nil {
				return
			}
			b[0]++
			if _, err := far.Write(b); err != nil {
				return
			}
		}
	}()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	reply := make([]byte, 256)
	a, err := f.Do(t.Context(), Op{Kind: Transfer, Handle: port, Bytes: all, Reply: reply, Wait: 10 * time.Second})
	if err != nil || a.N != 256 {
		t.Fatalf("%d bytes, %v", a.N, err)
	}
	for i := range reply {
		if reply[i] != byte(i+1) {
			t.Fatalf("byte %d came as %d", i, reply[i])
		}
	}
	// Fewer bytes than asked for are no error.
	a, err = f.Do(t.Context(), Op{Kind: Transfer, Handle: port, Bytes: []byte("ab"), Reply: reply, Wait: 100 * time.Millisecond})
	if err != nil || string(reply[:a.N]) != "bc" {
		t.Errorf("%q, %v, want bc", reply[:a.N], err)
	}
	// Nor is none.
	if a, err = f.Do(t.Context(), Op{Kind: Transfer, Handle: port, Reply: reply, Wait: time.Millisecond}); err != nil || a.N != 0 {
		t.Errorf("%d bytes, %v, want none", a.N, err)
	}
	// Without a buffer it only sends.
	if a, err = f.Do(t.Context(), Op{Kind: Transfer, Handle: port, Bytes: []byte("x")}); err != nil || a.N != 0 {
		t.Errorf("%d bytes, %v, want none", a.N, err)
	}
}

func TestSerialTransferEndsWithItsContext(t *testing.T) {
	_, path := terminal(t)
	f, port := portDoor(t, path, disk.Real())
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("the operator said so")
	time.AfterFunc(20*time.Millisecond, func() { stop(why) })
	if _, err := f.Do(ctx, Op{Kind: Transfer, Handle: port, Reply: make([]byte, 1), Wait: time.Hour}); !errors.Is(err, why) {
		t.Errorf("error = %v, want the cause", err)
	}
}

// The waiting is on the door's clock.
func TestSerialTransferWaitsOnTheClock(t *testing.T) {
	_, path := terminal(t)
	clock := disk.NewVirtual(time.Unix(0, 0))
	f, port := portDoor(t, path, clock)
	done := make(chan error)
	go func() {
		_, err := f.Do(t.Context(), Op{Kind: Transfer, Handle: port, Reply: make([]byte, 1), Wait: time.Hour})
		done <- err
	}()
	for over := false; !over; {
		clock.Advance(time.Minute)
		select {
		case err := <-done:
			if over = true; err != nil {
				t.Error(err)
			}
		default:
		}
	}
}

func TestUnpluggedPort(t *testing.T) {
	far, path := terminal(t)
	f, port := portDoor(t, path, disk.Real())
	time.AfterFunc(20*time.Millisecond, func() { far.Close() })
	_, err := f.Do(t.Context(), Op{Kind: Transfer, Handle: port, Reply: make([]byte, 1), Wait: time.Minute})
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "mcu") {
		t.Errorf("error = %v, want ErrUnreachable with the port", err)
	}
	if _, err := f.Do(t.Context(), Op{Kind: OpenPort, Run: "r", Target: "gone"}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error = %v, want ErrUnreachable", err)
	}
	if _, err := f.Do(t.Context(), Op{Kind: OpenPort, Run: "r", Target: "none"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("error = %v, want ErrUnknown", err)
	}
	if _, err := f.Do(t.Context(), Op{Kind: OpenPort, Run: "r", Target: "odd"}); err == nil || !strings.Contains(err.Error(), "12345") {
		t.Errorf("error = %v, want one that names the speed", err)
	}
	for _, op := range []Op{{Kind: Read, Bytes: make([]byte, 1)}, {Kind: Write, Bytes: make([]byte, 1)}, {Kind: Truncate}, {Kind: Sync}, {Kind: OpenEntry, Entry: "x"}} {
		if op.Handle = port; op.Kind != 0 {
			if _, err := f.Do(t.Context(), op); err == nil {
				t.Errorf("%s of a port went well", op.Kind)
			}
		}
	}
	if _, err := OpenSerial(os.DevNull, 9600); err == nil || !strings.Contains(err.Error(), "no serial port") {
		t.Errorf("error = %v, want that it is no serial port", err)
	}
}
