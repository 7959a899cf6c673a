package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/updraft-ota/updraft/control"
)

const (
	maxRequests  = 4       // at once
	maxRedirects = 5       // of one request
	maxAnswer    = 4 << 20 // bytes, whatever a dialect asks for
)

// request does one HTTP request of the dialect and gives its answer.
func (l *Link) request(ctx context.Context, client *http.Client, out control.Out) control.In {
	in := control.In{Kind: control.InResponse, Token: out.Token}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	if err := l.fetch(ctx, client, out, &in); err != nil {
		in.Err = fmt.Sprintf("%s %s: %v", out.Method, bare(out.URL), plain(err))
	}
	return in
}

// fetch fills in the answer, or returns why there is none.
func (l *Link) fetch(ctx context.Context, client *http.Client, out control.Out, in *control.In) (err error) {
	req, err := http.NewRequestWithContext(ctx, out.Method, out.URL, bytes.NewReader(out.Payload))
	if err != nil {
		return err
	}
	if err := l.secureURL(req.URL); err != nil {
		return err
	}
	for name, value := range out.Header {
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	limit := min(out.Max, maxAnswer)
	if limit <= 0 {
		limit = maxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(body)) > limit {
		return fmt.Errorf("the answer has more than %d bytes", limit)
	}
	in.Status, in.Payload, in.Header = res.StatusCode, body, map[string]string{}
	for name := range res.Header { // the transport bounds them
		in.Header[name] = res.Header.Get(name)
	}
	return nil
}

// httpClient trusts whom the broker's connection trusts. The function that it
// returns closes idle connections.
func (l *Link) httpClient() (client *http.Client, done func(), err error) {
	t := l.cfg.HTTP
	done = func() {}
	if t == nil {
		own := &http.Transport{DialContext: l.cfg.Dial, DisableCompression: true, MaxIdleConnsPerHost: 1}
		if own.TLSClientConfig, err = l.cfg.TLS(""); err != nil {
			return nil, nil, err
		}
		// These two are the broker's alone.
		own.TLSClientConfig.ServerName, own.TLSClientConfig.NextProtos = "", nil
		t, done = own, own.CloseIdleConnections
	}
	return &http.Client{Transport: t, CheckRedirect: l.checkRedirect}, done, nil
}

// checkRedirect follows few redirects, none from https to http, and takes the
// dialect's headers, which may hold a password, to no other host.
func (l *Link) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirect from https to " + req.URL.Scheme)
	}
	if req.URL.Host != via[0].URL.Host {
		clear(req.Header)
	}
	return l.secureURL(req.URL)
}

func (l *Link) secureURL(u *url.URL) error {
	if u.Scheme == "https" || u.Scheme == "http" && (l.cfg.PlainRequests || loopbackName(u.Hostname())) {
		return nil
	}
	return errors.New("it needs https, or a server on this machine")
}

// bare is a URL without what may be secret in it.
func bare(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a url that does not parse"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// plain takes from an error the URLs that net/http puts into it.
func plain(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns
	}
	if strings.Contains(err.Error(), "?") {
		return errors.New("it failed; the reason is not shown because it holds a query")
	}
	return err
}
