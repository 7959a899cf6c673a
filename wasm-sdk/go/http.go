package updraft

import (
	"encoding/json"
	"io"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Response is an HTTP answer. Its body is read as a stream; close it when done:
// a step has 32 handles.
type Response struct {
	abi.Response
	host   host
	handle int32
}

// HTTP sends a request and waits for the head of the answer. A status above
// 399 is no error. [abi.ECONN] and [abi.ETIMEDOUT] say that there is no
// answer; bodies of a phase, both ways, are at most 1 MiB. Capability: http:HOST.
func (s *Step) HTTP(r abi.Request, body []byte) (*Response, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	h := s.host.httpDo(text, body)
	if err := check("http", h); err != nil {
		return nil, err
	}
	answer := &Response{host: s.host, handle: h}
	head, err := grow(func(p []byte) int32 { return s.host.httpAnswer(h, p) })
	if err == nil {
		err = json.Unmarshal(head, &answer.Response)
	}
	if err != nil {
		s.host.httpClose(h)
		return nil, fault("http answer", err)
	}
	return answer, nil
}

// Read gives the next bytes of the body.
func (r *Response) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := r.host.httpRead(r.handle, p)
	if n < 0 {
		return 0, fault("read http answer", abi.Errno(n))
	}
	if n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

// Close frees the handle.
func (r *Response) Close() error { return check("close http answer", r.host.httpClose(r.handle)) }
