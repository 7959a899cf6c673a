package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// maxTransfer is the most that one transfer sends or receives, in bytes.
const maxTransfer = 64 << 10

// serialTransfer sends bytes through a port that is granted by name, and then
// fills the guest's buffer until it is full or the time is over. Nothing in
// time is 0 bytes; a port that cannot be opened or went away is ECONN, and is
// opened anew by the next transfer.
func serialTransfer(ctx context.Context, c *call, a args) int64 {
	name, ok := a.text(0, abi.MaxKey)
	send, into, wait := a.bytes(2), a.bytes(4), a.i32(6)
	switch {
	case !ok || !c.may(abi.Serial, name):
		return int64(abi.EDENIED)
	case wait < 0 || len(send) > maxTransfer || len(into) > maxTransfer:
		return int64(abi.EINVAL)
	case c.failed != nil:
		return int64(abi.EIO)
	case c.cancelled():
		return int64(abi.ECANCELED)
	}
	handle, open := c.ports[name]
	if !open {
		answer, err := c.do(ctx, device.Op{Kind: device.OpenPort, Target: name})
		if err != nil {
			return c.gone(err)
		}
		if handle = answer.Handle; c.ports == nil {
			c.ports = map[string]int64{}
		}
		c.ports[name] = handle
	}
	answer, err := c.do(ctx, device.Op{
		Kind: device.Transfer, Target: name, Handle: handle, Bytes: send, Reply: into, Wait: time.Duration(wait) * time.Millisecond,
	})
	if err != nil {
		delete(c.ports, name)
		if _, e := c.do(ctx, device.Op{Kind: device.Close, Handle: handle}); e != nil {
			err = errors.Join(err, e)
		}
		return c.gone(err)
	}
	return int64(min(answer.N, len(into)))
}

// gone gives the errno for what is beside the device and not there. The log
// has why.
func (c *call) gone(err error) int64 {
	if errors.Is(err, device.ErrUnreachable) {
		c.line(abi.LevelWarn, []byte(fmt.Sprint(err)))
		return int64(abi.ECONN)
	}
	return c.errno(err)
}
