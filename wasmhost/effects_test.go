package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// partsDoor has a serial port that answers what it was sent, in capitals, and
// two commands.
type partsDoor struct {
	*memoryDoor
	open, opened int
	gone         error
	params       []map[string]string
}

func (d *partsDoor) Do(ctx context.Context, op device.Op) (device.Answer, error) {
	switch op.Kind {
	case device.OpenPort:
		if d.gone != nil {
			return device.Answer{}, d.gone
		}
		d.open++
		d.opened++
		return device.Answer{Handle: 1000}, nil
	case device.Transfer:
		if op.Handle != 1000 || op.Run != "run-1" {
			return device.Answer{}, errors.New("no such handle")
		}
		if d.gone != nil {
			return device.Answer{}, d.gone
		}
		return device.Answer{N: copy(op.Reply, strings.ToUpper(string(op.Bytes))+fmt.Sprint(op.Wait))}, nil
	case device.Close:
		if op.Handle == 1000 {
			d.open--
			return device.Answer{}, nil
		}
	case device.Execute:
		d.params = append(d.params, op.Params)
		switch op.Params["how"] {
		case "slow":
			return device.Answer{}, fmt.Errorf("run: %w", device.ErrTimeout)
		case "wrong":
			return device.Answer{}, fmt.Errorf("run: %w", device.ErrParameter)
		case "broken":
			return device.Answer{}, errors.New("no such program")
		}
		return device.Answer{N: 3, Bytes: []byte("said this")}, nil
	}
	return d.memoryDoor.Do(ctx, op)
}

func parts(b *bench) *partsDoor {
	d := &partsDoor{memoryDoor: b.door}
	b.grants.Door = d
	b.grants.Allowed = []abi.Capability{"serial:mcu", "exec:flash", abi.Reboot}
	return d
}

func TestSerial(t *testing.T) {
	b := newBench(nil, device.Slots)
	d := parts(b)
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		buf := make([]byte, 8)
		if s.want(8, "serial_xfer", "mcu", "abc", buf, 250); string(buf) != "ABC250ms" {
			t.Errorf("reply = %q", buf)
		}
		s.want(0, "serial_xfer", "mcu", "abc", buf[:0], 0)
		s.want(abi.EDENIED, "serial_xfer", "other", "abc", buf, 0)
		s.want(abi.EDENIED, "serial_xfer", "", "abc", buf, 0)
		s.want(abi.EINVAL, "serial_xfer", "mcu", "abc", buf, -1)
		s.want(abi.EINVAL, "serial_xfer", "mcu", make([]byte, maxTransfer+1), buf, 1)
		d.gone = fmt.Errorf("receive: %w: it was unplugged", device.ErrUnreachable)
		s.want(abi.ECONN, "serial_xfer", "mcu", "abc", buf, 1)
		s.want(abi.ECONN, "serial_xfer", "mcu", "abc", buf, 1) // cannot be opened either
		if d.open != 0 {
			t.Errorf("%d ports are open", d.open)
		}
		d.gone = nil
		s.want(4, "serial_xfer", "mcu", "x", buf, 1)
		s.c.g.Cancelled = func() bool { return true }
		s.want(abi.ECANCELED, "serial_xfer", "mcu", "abc", buf, 1)
	})
	if err != nil || d.open != 0 || d.opened != 2 || !slices.ContainsFunc(b.log, func(l string) bool { return strings.Contains(l, "unplugged") }) {
		t.Errorf("error %v, %d ports opened, %d open, log %q", err, d.opened, d.open, b.log)
	}
	b = newBench(nil, device.Slots)
	d = parts(b)
	d.gone = errors.New("a fault of the driver")
	err = run(t, abi.Install, plain(""), &b.grants, func(s *script) { s.want(abi.EIO, "serial_xfer", "mcu", "abc", make([]byte, 1), 1) })
	if !errors.Is(err, d.gone) {
		t.Errorf("error = %v, want the door's own", err)
	}
}

func TestExec(t *testing.T) {
	b := newBench(nil, device.Slots)
	d := parts(b)
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		s.want(0, "exec_output", make([]byte, 10))
		s.want(3, "exec", "flash", `{"how": "well"}`)
		if got := s.text("exec_output"); got != "said this" {
			t.Errorf("output = %q", got)
		}
		s.want(9, "exec_output", make([]byte, 3))
		s.want(3, "exec", "flash", "")
		s.want(abi.EDENIED, "exec", "other", "{}")
		for _, bad := range []string{"[]", `{"how": 1}`, `{"how": ["a"]}`, `"x"`, "{"} {
			s.want(abi.EINVAL, "exec", "flash", bad)
		}
		s.want(abi.EINVAL, "exec", "flash", `{"how": "wrong"}`)
		s.want(0, "exec_output", make([]byte, 10))
		s.want(abi.ETIMEDOUT, "exec", "flash", `{"how": "slow"}`)
		s.want(abi.EQUOTA, "exec", "flash", strings.Repeat(" ", maxRequest+1))
	})
	if err != nil || len(d.params) != 4 || d.params[0]["how"] != "well" {
		t.Errorf("error %v, params %v", err, d.params)
	}
	b = newBench(nil, device.Slots)
	parts(b)
	err = run(t, abi.Commit, plain(""), &b.grants, func(s *script) { s.want(abi.EIO, "exec", "flash", `{"how": "broken"}`) })
	if err == nil || !strings.Contains(err.Error(), "no such program") {
		t.Errorf("error = %v, want the door's own", err)
	}
	for _, phase := range []abi.Phase{abi.Compat, abi.Prepare, abi.Health, abi.Cleanup, abi.Enumerate} {
		b := newBench(nil, device.Slots)
		parts(b)
		if err := run(t, phase, plain(""), &b.grants, func(s *script) { s.want(abi.EDENIED, "exec", "flash", "{}") }); err != nil {
			t.Error(err)
		}
	}
}

func TestRebootRequest(t *testing.T) {
	for _, tt := range []struct {
		name, before, want, details string
		granted                     bool
	}{
		{"granted", "", "required", "the boot loader is new", true},
		{"after a stronger one", `{"reboot": "immediate", "details": "mine"}`, "immediate", "mine", true},
		{"not granted", "", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(nil, device.Slots)
			if parts(b); !tt.granted {
				b.grants.Allowed = nil
			}
			err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
				if tt.before != "" {
					s.want(0, "result_set", tt.before)
				}
				want := any(abi.EDENIED)
				if tt.granted {
					want = 0
				}
				s.want(want, "reboot_request", "the boot loader is new")
				if got := s.c.result.Report; got.Reboot != tt.want || got.Details != tt.details {
					t.Errorf("report = %+v", got)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// The commands and ports of a device file, through its door.
func TestEffectsOnTheDoorOfADevice(t *testing.T) {
	config, err := device.Load("/device/device.yaml", []byte(deviceFile+"serial: {mcu: {path: /dev/not-there}}\ncommands: {flash: {exec: [sh, -c, 'echo $1', sh, \"${x}\"], timeout: 10s}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	config.File = t.TempDir() + "/device.yaml"
	door, err := device.New(config, device.Env{FS: disk.NewForgetful(), Clock: disk.Real(), Tool: device.RunTool, Serial: device.OpenSerial})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(nil, device.Slots)
	parts(b)
	b.grants.Door = door
	begin := time.Now()
	err = run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		s.want(0, "exec", "flash", `{"x": "a; touch b $(id)"}`)
		if got := s.text("exec_output"); got != "a; touch b $(id)\n" {
			t.Errorf("output = %q", got)
		}
		s.want(abi.EINVAL, "exec", "flash", `{"x": "-n"}`)
		s.want(abi.EINVAL, "exec", "flash", `{}`)
		s.want(abi.EINVAL, "exec", "flash", `{"x": "a", "y": "b"}`)
		s.want(abi.EINVAL, "exec", "flash", `{"x": "a\u0000b"}`)
		s.want(abi.ECONN, "serial_xfer", "mcu", "x", make([]byte, 1), 1)
	})
	if err != nil || time.Since(begin) > 8*time.Second {
		t.Errorf("error %v after %v", err, time.Since(begin))
	}
}
