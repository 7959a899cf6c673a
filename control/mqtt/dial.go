package mqtt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// TLS reads certificates anew, so that renewed ones count, for one connection
// to a host. Errors wrap [ErrSecret].
func (c *Config) TLS(host string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, NextProtos: c.ALPN}
	if c.ServerName != "" {
		t.ServerName = c.ServerName
	}
	if c.Roots.Set() {
		pem, err := c.Roots.Reveal()
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: %s: no certificate in it, expected PEM", ErrSecret, c.Roots.origin)
		}
	}
	if !c.Cert.Set() {
		return t, nil
	}
	cert, err := c.Cert.Reveal()
	if err != nil {
		return nil, err
	}
	key, err := c.Key.Reveal()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %s with %s: %w", ErrSecret, c.Cert.origin, c.Key.origin, err)
	}
	t.Certificates = []tls.Certificate{pair}
	return t, nil
}

// dial opens TCP and TLS. ctx carries the time limit.
func (l *Link) dial(ctx context.Context) (net.Conn, error) {
	var secure *tls.Config
	if l.at.tls {
		var err error
		if secure, err = l.cfg.TLS(l.at.host); err != nil {
			return nil, err
		}
	}
	conn, err := l.cfg.Dial(ctx, "tcp", l.at.addr)
	if err != nil {
		return nil, err
	}
	if secure == nil {
		// "localhost" is a name like any other; the address is what counts.
		if l.cfg.logsIn() && !loopbackAddr(conn.RemoteAddr()) {
			return nil, errors.Join(fmt.Errorf("%w: %s is at %s", ErrInsecure, l.at, conn.RemoteAddr()), conn.Close())
		}
		return conn, nil
	}
	t := tls.Client(conn, secure)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, err
	}
	return t, nil
}

func loopbackAddr(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// explain gives an error of dialling one of the package's names.
func explain(err error) error {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var timeout net.Error
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("%w: %w", ErrWrongName, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: %w", ErrExpired, err)
	case errors.As(err, &unknown) && unknown.Cert != nil && bytes.Equal(unknown.Cert.RawIssuer, unknown.Cert.RawSubject):
		return fmt.Errorf("%w: %w", ErrSelfSigned, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %w", ErrUnknownIssuer, err)
	case errors.Is(err, ErrSilent):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return err
}
