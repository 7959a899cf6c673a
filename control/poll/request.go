package poll

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

const (
	maxAnswer   = 4 << 20          // bytes, whatever a dialect asks for
	idleTimeout = 90 * time.Second // a connection costs a server memory; polls are minutes apart
	maxHeader   = 64 << 10         // bytes
)

// request does one request of the dialect and gives its answer.
func (l *Link) request(ctx context.Context, client *http.Client, out control.Out) control.In {
	in := control.In{Kind: control.InResponse, Token: out.Token}
	limited, cancel := context.WithTimeout(ctx, l.cfg.RequestTimeout)
	defer cancel()
	if err := l.fetch(limited, client, out, &in); err != nil {
		err = fmt.Errorf("%s %s: %w", out.Method, bare(out.URL), plain(err))
		in = control.In{Kind: control.InResponse, Token: out.Token, Err: err.Error()}
		l.answered(err, nil)
		return in
	}
	var refused error
	if in.Status == http.StatusUnauthorized || in.Status == http.StatusForbidden && out.Method == http.MethodGet {
		refused = fmt.Errorf("%s %s: the server refuses this device: %d", out.Method, bare(out.URL), in.Status)
	}
	l.answered(nil, refused)
	return in
}

// fetch fills in the answer, or returns why there is none.
func (l *Link) fetch(ctx context.Context, client *http.Client, out control.Out, in *control.In) (err error) {
	req, err := http.NewRequestWithContext(ctx, out.Method, out.URL, bytes.NewReader(out.Payload))
	if err != nil {
		return err
	}
	if req.URL.User != nil {
		return errors.New("user and password do not belong into an address")
	}
	if req.URL.Scheme != "https" && (req.URL.Scheme != "http" || !loopbackName(req.URL.Hostname())) {
		return errors.New("it needs https, or a server on this machine")
	}
	for name, value := range out.Header {
		req.Header.Set(name, value)
	}
	if l.cfg.Authorize != nil {
		value, err := l.cfg.Authorize(out.URL)
		if err != nil {
			return err
		}
		if value != "" {
			req.Header.Set("Authorization", value)
		}
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

// dialTLS opens TCP and TLS, with what is trusted and shown now.
func (l *Link) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	secure := &tls.Config{}
	if l.cfg.TLS != nil {
		if secure, err = l.cfg.TLS(host); err != nil {
			return nil, err
		}
		secure = secure.Clone()
	}
	secure.MinVersion = max(secure.MinVersion, tls.VersionTLS12)
	secure.ServerName = cmp.Or(secure.ServerName, host)
	conn, err := l.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	t := tls.Client(conn, secure)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, err
	}
	return t, nil
}

// dial holds names of this machine to it: "localhost" is a name like any
// other, and the address is what counts.
func (l *Link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.cfg.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err == nil && loopbackName(host) {
		if t, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || !t.IP.IsLoopback() {
			err = fmt.Errorf("%s is at %s, which is not this machine", host, conn.RemoteAddr())
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func loopbackName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bare is a URL without what may be secret in it.
func bare(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that does not parse"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// plain takes from an error the URLs that net/http puts into it.
func plain(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		if u.Op == "parse" { // what is wrong with it may be a password
			return errors.New("it is no address")
		}
		err = u.Err
	}
	if strings.Contains(err.Error(), "?") {
		return errors.New("it failed; the reason is not shown because it holds a query")
	}
	return err
}
