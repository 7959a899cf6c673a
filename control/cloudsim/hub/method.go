package hub

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// maxMethod bounds a method's payload and its answer, in bytes.
const maxMethod = 128 << 10

// The times of the service side: for an answer, and until a device is connected.
const (
	defaultResponse = 30 * time.Second
	minResponse     = 5 * time.Second
	maxResponse     = 300 * time.Second
	lookAgain       = 100 * time.Millisecond // whether it is connected
)

// errOffline and errSilent are why a method has no result.
var (
	errOffline = errors.New("DeviceNotOnline: the device is not connected, or hears no method calls")
	errSilent  = errors.New("GatewayTimeout: the device does not answer in time")
)

// call is a method call without an answer.
type call struct {
	device string
	job    string      // whose push it is, or ""
	result chan result // takes one
}

type result struct {
	status  int
	payload json.RawMessage // null if there is none
}

// online says whether a call would reach a device.
func (h *Cloud) online(device string) bool {
	h.mu.Lock()
	hears := h.hears[device]
	h.mu.Unlock()
	return hears && h.sim.Connected(device)
}

// await waits until a device is connected, or gives errOffline.
func (h *Cloud) await(ctx context.Context, device string, patience time.Duration) error {
	for end := time.Now().Add(patience); !h.online(device); {
		if !time.Now().Before(end) {
			return errOffline
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// begin makes the message of a call, whose result is awaited for a time.
func (h *Cloud) begin(device, job, method string, payload []byte, patience time.Duration) (cloudsim.Message, *call) {
	request := strings.ToLower(rand.Text()[:16])
	c := &call{device: device, job: job, result: make(chan result, 1)}
	h.mu.Lock()
	h.calls[request] = c
	h.mu.Unlock()
	time.AfterFunc(patience, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.calls, request)
	})
	return cloudsim.Message{Device: device, QoS: 1, Payload: payload, Topic: fmt.Sprintf("$iothub/methods/POST/%s/?$rid=%s", method, request)}, c
}

// invoke calls a method and waits for its result.
func (h *Cloud) invoke(ctx context.Context, device, job, method string, payload []byte, patience time.Duration) (result, error) {
	m, c := h.begin(device, job, method, payload, patience)
	h.sim.Send(m)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-c.result:
		return r, nil
	case <-timer.C:
		return result{}, errSilent
	case <-ctx.Done():
		return result{}, context.Cause(ctx)
	}
}

// answered takes the result of a call.
func (h *Cloud) answered(device string, t topic, payload []byte) error {
	h.mu.Lock()
	c := h.calls[t.request]
	if c != nil && c.device == device {
		delete(h.calls, t.request)
	}
	h.mu.Unlock()
	r := result{status: t.status, payload: json.RawMessage(payload)}
	switch {
	case c == nil:
		h.note(device, fmt.Sprintf("the result %d of a method call that nobody waits for", t.status))
		return nil
	case c.device != device:
		h.refuse(device, "the result of another device's method call")
		return nil
	case len(payload) == 0:
		r.payload = json.RawMessage("null")
	case len(payload) > maxMethod || !json.Valid(payload):
		h.refuse(device, fmt.Sprintf("the payload of a method's result: expected JSON of at most %d bytes", maxMethod))
		r.payload = json.RawMessage("null")
	}
	if c.job != "" {
		if err := h.settle(device, c.job, r); err != nil {
			return err
		}
	}
	c.result <- r
	return nil
}
