package stages

import (
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

// maxRetryAfter caps what a server may ask a device to wait.
const maxRetryAfter = time.Hour

// accept looks at the head of an answer that is no redirect, and lets its body
// through or closes it.
func (c *Config) accept(w *watched, clock disk.Clock, resp *http.Response, a ask, u *url.URL) (*answer, error) {
	got := &answer{watched: w, total: -1, etag: strong(resp.Header.Get("ETag"))}
	err := got.judge(resp, a, clock.Now())
	if err != nil {
		err = errors.Join(err, resp.Body.Close())
		w.cancel(nil)
		return nil, explain(err, trust.Redact(u.String()))
	}
	w.start(clock, c.RateWindow, c.least())
	return got, nil
}

// explain gives a message its address and keeps what the engine decides on.
func explain(err error, where string) error {
	var retry *engine.Retry
	var failure *engine.Failure
	var past *rangeError
	if errors.As(err, &past) {
		past.at = where
		return past
	}
	if errors.As(err, &failure) {
		failure.Err = fmt.Errorf("%s %w", where, failure.Err)
	}
	if errors.As(err, &retry) {
		return retry
	}
	return err
}

func (g *answer) judge(resp *http.Response, a ask, now time.Time) error {
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		g.total = resp.ContentLength
	case code == http.StatusPartialContent:
		if err := g.partial(resp, a); err != nil {
			// Asked for the whole, the server may still give it.
			return &engine.Retry{Fresh: a.from > 0, Err: err}
		}
	case code == http.StatusRequestedRangeNotSatisfiable && a.from > 0:
		return &rangeError{from: a.from, total: unsatisfied(resp.Header.Get("Content-Range"))}
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests || code >= 500:
		return &engine.Retry{After: retryAfter(resp.Header.Get("Retry-After"), now), Err: status(code)}
	default:
		return status(code)
	}
	coding := resp.Header.Get("Content-Encoding")
	if resp.Uncompressed || coding != "" && !strings.EqualFold(coding, "identity") {
		return protocol("answers with the content encoding %.40q, want none", coding)
	}
	return nil
}

// partial checks that a 206 is the one range that was asked for.
func (g *answer) partial(resp *http.Response, a ask) error {
	if a.from == 0 {
		return protocol("answers with a part, the whole was asked for")
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "multipart/byteranges" {
		return protocol("answers with several ranges, one was asked for")
	}
	text := resp.Header.Get("Content-Range")
	first, last, total, ok := contentRange(text)
	if !ok || first != a.from {
		return protocol("answers with the range %.60q, want it from byte %d on", text, a.from)
	}
	if n := resp.ContentLength; n >= 0 && n != last-first+1 {
		return protocol("answers with the range %.60q in %d bytes", text, n)
	}
	g.at, g.total = first, total
	return nil
}

// contentRange reads "bytes 5-9/10"; the total is -1 if it stands as "*".
func contentRange(s string) (first, last, total int64, ok bool) {
	span, size, found := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	from, to, dash := strings.Cut(span, "-")
	if !found || !dash || !strings.HasPrefix(s, "bytes ") {
		return 0, 0, 0, false
	}
	first, last, total = number(from), number(to), number(size)
	if size == "*" {
		return first, last, -1, first >= 0 && last >= first && last < math.MaxInt64
	}
	return first, last, total, first >= 0 && last >= first && total > last
}

// unsatisfied reads the size out of "bytes */10", or gives -1.
func unsatisfied(s string) int64 {
	size, ok := strings.CutPrefix(s, "bytes */")
	if !ok {
		return -1
	}
	return number(size)
}

// number reads digits alone, or gives -1.
func number(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}

// strong gives an ETag that promises equal bytes, or "".
func strong(etag string) string {
	if len(etag) < 2 || len(etag) > 256 || etag[0] != '"' || etag[len(etag)-1] != '"' || strings.ContainsAny(etag, "\r\n") {
		return ""
	}
	return etag
}

// retryAfter reads seconds or a date. What cannot be read is 0.
func retryAfter(s string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if n := number(s); n >= 0 {
		wait = time.Duration(min(n, int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

func status(code int) *engine.Failure {
	text := http.StatusText(code)
	return &engine.Failure{Code: fmt.Sprintf("http_%d", code), Err: fmt.Errorf("answers %s", strings.TrimSpace(fmt.Sprint(code, " ", text)))}
}

// protocol is an answer that HTTP does not allow here.
func protocol(format string, args ...any) *engine.Failure {
	return &engine.Failure{Code: "protocol", Err: fmt.Errorf(format, args...)}
}

// missing reports whether an address has nothing for us, for good.
func missing(err error) bool {
	var failure *engine.Failure
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code {
	case "http_403", "http_404", "http_410", "not_found":
		return true
	}
	return false
}
