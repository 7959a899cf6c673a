package wasmhost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// hostExec runs a command of the device file that is granted by name. The
// module chooses values for the command's parameters and nothing else.
func hostExec(ctx context.Context, c *call, a args) int64 {
	name, ok := a.text(0, abi.MaxKey)
	text := a.bytes(2)
	switch {
	case !ok || !c.may(abi.Exec, name):
		return int64(abi.EDENIED)
	case len(text) > maxRequest:
		return int64(abi.EQUOTA)
	case c.failed != nil:
		return int64(abi.EIO)
	case c.cancelled():
		return int64(abi.ECANCELED)
	}
	params := map[string]string{}
	if len(bytes.TrimSpace(text)) > 0 && json.Unmarshal(text, &params) != nil {
		return int64(abi.EINVAL)
	}
	c.output = nil
	answer, err := c.do(ctx, device.Op{Kind: device.Execute, Target: name, Params: params})
	c.output = answer.Bytes[max(0, len(answer.Bytes)-abi.MaxOutput):]
	switch {
	case errors.Is(err, device.ErrParameter):
		return int64(abi.EINVAL)
	case errors.Is(err, device.ErrTimeout):
		return int64(abi.ETIMEDOUT)
	case err != nil:
		return c.errno(err)
	}
	return int64(answer.N)
}

func hostExecOutput(_ context.Context, _ *call, a args) int64 { return a.answer(0, a.c.output) }

func hostReboot(_ context.Context, c *call, a args) int64 {
	reason, ok := a.text(0, abi.MaxLine)
	if !ok {
		return int64(abi.EINVAL)
	}
	return int64(rebootRequest(c, clean([]byte(reason))))
}
