package stages

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

const (
	headerTimeout = 30 * time.Second
	maxHeader     = 64 << 10 // bytes of a response's head
	maxRedirects  = 5
)

// NewTransport gives a transport with a limit for each wait: connecting, the
// TLS handshake, the head of the answer. It trusts roots, or the system's
// authorities if that is nil, and uses no proxy. It speaks HTTP/1.1 alone: one
// long body gains nothing from HTTP/2, whose streams buffer megabytes that
// nobody asked for.
func NewTransport(roots *x509.CertPool) http.RoundTripper {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    15 * time.Second,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		Protocols:              protocols,
		MaxIdleConns:           4,
		IdleConnTimeout:        30 * time.Second,
	}
}

// ask is a request for the bytes of an address from an offset on.
type ask struct {
	address string
	from    int64
	etag    string // strong, of an earlier answer; or ""
}

// answer is an open body.
type answer struct {
	*watched
	at    int64  // offset of its first byte: that of the ask, or 0
	total int64  // bytes of the whole, or -1
	etag  string // strong, or ""
}

// rangeError says that the server has nothing at the offset.
type rangeError struct {
	from, total int64 // total is -1 if the server did not say
	at          string
}

func (e *rangeError) Error() string {
	return fmt.Sprintf("%s has nothing from byte %d on (size %d)", e.at, e.from, e.total)
}

// get asks for a body. Errors are an [*engine.Retry] if another try may do
// better, an [*engine.Failure] if not, or a [*rangeError].
func (c *Config) get(ctx context.Context, clock disk.Clock, a ask) (*answer, error) {
	u, err := url.Parse(a.address)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &engine.Failure{Code: "address", Err: fmt.Errorf("address %q cannot be fetched: want http://HOST/…, https://HOST/…, file:///… or a path", trust.Redact(a.address))}
	}
	for hop := 0; ; hop++ {
		resp, w, err := c.roundTrip(ctx, clock, u, a)
		if err != nil {
			return nil, err
		}
		to, err := redirect(u, resp, hop)
		if err == nil && to == nil {
			w.body = resp.Body
			return c.accept(w, clock, resp, a, u)
		}
		err = errors.Join(err, resp.Body.Close())
		w.cancel(nil)
		if err != nil {
			return nil, err
		}
		u = to
	}
}

// roundTrip does one request and gives the head of its answer.
func (c *Config) roundTrip(ctx context.Context, clock disk.Clock, u *url.URL, a ask) (*http.Response, *watched, error) {
	where := trust.Redact(u.String())
	reqCtx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(reqCtx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, nil, &engine.Failure{Code: "address", Err: fmt.Errorf("address %q cannot be fetched", where)}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
		req.URL.User = nil
	}
	req.Header.Set("User-Agent", "updraft")
	// Otherwise a transport may ask for gzip, whose bytes cannot be resumed.
	req.Header.Set("Accept-Encoding", "identity")
	if a.from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", a.from))
		if a.etag != "" {
			req.Header.Set("If-Range", a.etag)
		}
	}
	answered := answering(reqCtx, cancel, clock)
	resp, err := cmp.Or(c.Fetch, c.HTTP).RoundTrip(req)
	answered()
	if err == nil {
		return resp, &watched{ctx: reqCtx, cancel: cancel, where: where}, nil
	}
	if cause := context.Cause(reqCtx); cause != nil {
		err = cause
	}
	cancel(nil)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	return nil, nil, &engine.Retry{Err: &engine.Failure{Code: "network", Err: fmt.Errorf("ask %s: %w", where, err)}}
}

// answering cancels a request that has no answer in time, unless the function
// that it returns is called before.
func answering(ctx context.Context, cancel context.CancelCauseFunc, clock disk.Clock) (answered func()) {
	limit, stop := disk.WithTimeout(ctx, clock, headerTimeout, fmt.Errorf("no answer within %v", headerTimeout))
	unhook := context.AfterFunc(limit, func() { cancel(context.Cause(limit)) })
	return func() {
		unhook()
		stop()
	}
}

// redirect gives the address that an answer leads to, or nil. The user and
// password of the address go along to the same host alone.
func redirect(from *url.URL, resp *http.Response, hop int) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	where := trust.Redact(from.String())
	refuse := func(format string, args ...any) (*url.URL, error) {
		return nil, &engine.Failure{Code: "redirect", Err: fmt.Errorf("%s "+format, append([]any{where}, args...)...)}
	}
	if hop == maxRedirects {
		return refuse("is redirected more than %d times", maxRedirects)
	}
	ref, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return refuse("is redirected to an address that cannot be read")
	}
	to := from.ResolveReference(ref)
	to.User, to.Fragment = nil, ""
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Hostname() == "":
		return refuse("is redirected to %s, want http or https", trust.Redact(to.String()))
	case from.Scheme == "https" && to.Scheme == "http":
		return refuse("is redirected from https to %s", trust.Redact(to.String()))
	case to.Scheme == from.Scheme && strings.EqualFold(to.Host, from.Host):
		to.User = from.User
	}
	return to, nil
}
