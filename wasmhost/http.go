package wasmhost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// A module asks the hosts that are granted to it, as http:HOST or
// http:HOST:PORT, over https: without a port it is 443. Plain http is for the
// device itself, a grant of a loopback address alone. Redirects are followed
// within the grants. Requests and responses of a phase, heads included, have
// abi.MaxHTTP bytes together.

const (
	httpTimeout  = 30 * time.Second
	httpLongest  = 10 * time.Minute
	maxRequest   = 16 << 10 // bytes of a request's JSON
	maxHeaders   = 64       // of a request
	maxRedirects = 5
)

var (
	errSlow      = errors.New("no answer in time")
	errRedirects = fmt.Errorf("redirected more than %d times", maxRedirects)
)

// response is an open answer. Its timeout goes on while its body is read.
type response struct {
	ctx  context.Context
	stop context.CancelFunc
	*http.Response
}

func (r *response) close() {
	if r.Response != nil {
		_ = r.Body.Close() // nothing more is read
	}
	r.stop()
}

// httpDo sends a request and waits for the head of its answer.
func httpDo(ctx context.Context, c *call, a args) int64 {
	text, body := a.bytes(0), bytes.Clone(a.bytes(2))
	if c.cancelled() {
		return int64(abi.ECANCELED)
	}
	if c.g.HTTP == nil {
		return int64(abi.EDENIED)
	}
	if len(text) > maxRequest || !c.spend(len(text)+len(body)) {
		return int64(abi.EQUOTA)
	}
	var ask abi.Request
	if json.Unmarshal(text, &ask) != nil || ask.Timeout < 0 {
		return int64(abi.EINVAL)
	}
	r := &response{}
	handle, ok := c.handles.add(kindResponse, r)
	if !ok {
		return int64(abi.EMFILE)
	}
	limit := httpTimeout
	if ask.Timeout > 0 {
		limit = time.Duration(min(ask.Timeout, httpLongest.Milliseconds())) * time.Millisecond
	}
	r.ctx, r.stop = disk.WithTimeout(ctx, c.g.Clock, limit, errSlow)
	if err := c.exchange(r, ask, body); err != nil {
		r.close()
		c.handles.drop(handle)
		return c.unreached(ctx, r.ctx, ask.URL, err)
	}
	return int64(handle)
}

// exchange does one request with its redirects.
func (c *call) exchange(r *response, ask abi.Request, body []byte) error {
	req, err := c.request(r.ctx, ask, body)
	if err != nil {
		return err
	}
	client := http.Client{Transport: c.g.HTTP, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errRedirects
		}
		return c.reachable(next.URL)
	}}
	if r.Response, err = client.Do(req); err != nil {
		return err
	}
	head := 0
	for name, values := range r.Header {
		for _, v := range values {
			head += len(name) + len(v) + 4
		}
	}
	if !c.spend(head) {
		return abi.EQUOTA
	}
	return nil
}

// request checks all that a module may set.
func (c *call) request(ctx context.Context, ask abi.Request, body []byte) (*http.Request, error) {
	method := ask.Method
	if method == "" {
		method = http.MethodGet
	}
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	u, err := url.Parse(ask.URL)
	if err != nil || u.User != nil || u.Hostname() == "" || !slices.Contains(methods, method) || len(ask.Headers) > maxHeaders {
		return nil, abi.EINVAL
	}
	if err := c.reachable(u); err != nil {
		return nil, err
	}
	u.Fragment = ""
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, abi.EINVAL
	}
	req.Header.Set("User-Agent", "updraft")
	for name, value := range ask.Headers {
		if !headerName(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, abi.EINVAL
		}
		req.Header.Set(name, value)
	}
	// Otherwise a transport may ask for gzip, and the length would be another.
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}

// headerName says whether a module may set this header: a token, and none of
// those by which the connection itself is led.
func headerName(name string) bool {
	led := []string{"host", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "transfer-encoding",
		"content-length", "te", "trailer", "upgrade", "expect", "accept-encoding"}
	if name == "" || slices.Contains(led, strings.ToLower(name)) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

// reachable says whether the address lies within the grants.
func (c *call) reachable(u *url.URL) error {
	ip, err := netip.ParseAddr(u.Hostname())
	local := err == nil && ip.IsLoopback()
	port := u.Port()
	switch {
	case u.Scheme == "https" && (port == "" || port == "443"):
		port = "443"
	case u.Scheme == "https":
	case u.Scheme == "http" && local:
		if port == "" {
			port = "80"
		}
	default:
		return abi.EDENIED
	}
	host := strings.ToLower(u.Hostname())
	for _, g := range c.allowed() {
		if g.Kind() != abi.HTTP {
			continue
		}
		granted, to := strings.ToLower(g.Name()), "443"
		if h, p, err := net.SplitHostPort(granted); err == nil {
			granted, to = h, p
		}
		if strings.Trim(granted, "[]") == host && to == port {
			return nil
		}
	}
	return abi.EDENIED
}

// spend takes n bytes from the phase's quota.
func (c *call) spend(n int) bool {
	c.httpBytes += int64(n)
	return c.httpBytes <= abi.MaxHTTP
}

// unreached gives the errno for an exchange that failed. The log has why, with
// the host and nothing else of the address.
func (c *call) unreached(ctx, limit context.Context, address string, err error) int64 {
	var e abi.Errno
	if errors.As(err, &e) {
		return int64(e)
	}
	if ctx.Err() != nil {
		return int64(c.fail(context.Cause(ctx)))
	}
	host := "the server"
	if u, parsed := url.Parse(address); parsed == nil {
		host = u.Host
	}
	// The outer error repeats the address with its query.
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	slow := errors.Is(context.Cause(limit), errSlow)
	if slow {
		err = errSlow
	}
	c.line(abi.LevelWarn, []byte(fmt.Sprintf("http: %s: %v", host, err)))
	if slow {
		return int64(abi.ETIMEDOUT)
	}
	return int64(abi.ECONN)
}

// response gives what the handle in n stands for, or traps.
func (a args) response(n int) *response {
	r, ok := a.c.handles.get(a.i32(n), kindResponse).(*response)
	if !ok {
		a.trap("%d is no handle of a response", a.i32(n))
	}
	return r
}

func httpAnswer(_ context.Context, c *call, a args) int64 {
	r := a.response(0)
	answer := abi.Response{Status: r.StatusCode, Size: r.ContentLength, Headers: map[string]string{}}
	for name, values := range r.Header {
		if len(values) > 0 {
			answer.Headers[strings.ToLower(name)] = values[0]
		}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return int64(c.fail(err))
	}
	return a.answer(1, text)
}

func httpRead(ctx context.Context, c *call, a args) int64 {
	r, b := a.response(0), a.bytes(1)
	if c.cancelled() {
		return int64(abi.ECANCELED)
	}
	if len(b) == 0 {
		return 0
	}
	left := abi.MaxHTTP - c.httpBytes
	if left < 0 {
		return int64(abi.EQUOTA)
	}
	// One byte beyond the quota tells the end from too much.
	b = b[:min(int64(len(b)), left+1)]
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = r.Body.Read(b)
	}
	switch {
	case n > 0:
		if !c.spend(n) {
			clear(b[:n])
			return int64(abi.EQUOTA)
		}
		return int64(n) // an error comes again with the next read
	case err == io.EOF && r.ctx.Err() == nil: // a server may end the body when it is hung up on
		return 0
	}
	return c.unreached(ctx, r.ctx, r.Request.URL.String(), err)
}

func httpClose(_ context.Context, c *call, a args) int64 {
	a.response(0).close()
	c.handles.drop(a.i32(0))
	return 0
}
