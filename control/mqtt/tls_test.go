package mqtt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/mqtt"
)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by issuer or by itself if that is nil.
func issue(t *testing.T, issuer *identity, cert x509.Certificate) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert.SerialNumber = big.NewInt(time.Now().UnixNano())
	if cert.NotAfter.IsZero() {
		cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := &cert, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &cert, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{parsed, key}
}

func (i *identity) pem(t *testing.T) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (i *identity) server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key}}}
}

func authority(t *testing.T, name string) *identity {
	t.Helper()
	return issue(t, nil, x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
}

func TestCertificates(t *testing.T) {
	ca, other := authority(t, "ca"), authority(t, "other")
	old, soon := time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	good := x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, DNSNames: []string{"localhost"}}
	expired := good
	expired.NotBefore, expired.NotAfter = old, soon
	future := good
	future.NotBefore, future.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	wrong := good
	wrong.DNSNames = []string{"elsewhere.example"}
	for _, tt := range []struct {
		name   string
		server *identity
		change func(*mqtt.Config)
		want   error // nil: connected
	}{
		{"right", issue(t, ca, good), nil, nil},
		{"for another name", issue(t, ca, wrong), nil, mqtt.ErrWrongName},
		{"for the name that is asked for", issue(t, ca, wrong), func(c *mqtt.Config) { c.ServerName = "elsewhere.example" }, nil},
		{"expired", issue(t, ca, expired), nil, mqtt.ErrExpired},
		{"not valid yet", issue(t, ca, future), nil, mqtt.ErrExpired},
		{"self-signed", issue(t, nil, good), nil, mqtt.ErrSelfSigned},
		{"by another authority", issue(t, other, good), nil, mqtt.ErrUnknownIssuer},
		{"not of the system's authorities", issue(t, ca, good), func(c *mqtt.Config) { c.Roots = mqtt.Secret{} }, mqtt.ErrUnknownIssuer},
		{"with roots that are none", issue(t, ca, good), func(c *mqtt.Config) { c.Roots = secret("no pem") }, mqtt.ErrSecret},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := simulator(t, cloudsim.Config{TLS: tt.server.server()})
			h := &host{}
			roots, _ := ca.pem(t)
			cfg := config(strings.Replace(s.Endpoints().Broker, "127.0.0.1", "localhost", 1))
			cfg.Roots = secret(roots)
			if tt.change != nil {
				tt.change(&cfg)
			}
			l := start(t, cfg, newEcho("gw-1"), h)
			if tt.want == nil {
				connected(t, l)
				return
			}
			eventually(t, tt.want.Error(), func() bool { return errors.Is(l.Status().Err, tt.want) })
			t.Log(l.Status().Err)
			if n := l.Status().Attempts; n > 100 {
				t.Errorf("%d attempts already: a busy loop", n)
			}
		})
	}
}

// Each attempt that a certificate ends is one line that says why and where,
// without the secrets of the connection, and the pauses grow.
func TestCertificateComplaints(t *testing.T) {
	ca := authority(t, "ca")
	roots, _ := ca.pem(t)
	cert, key := issue(t, ca, x509.Certificate{Subject: pkix.Name{CommonName: "gw-1"}}).pem(t)
	good := x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, DNSNames: []string{"localhost"}}
	wrong, expired := good, good
	wrong.DNSNames = []string{"elsewhere.example"}
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	for _, tt := range []struct {
		name   string
		server *identity
		want   string
	}{
		{"for another name", issue(t, ca, wrong), "certificate is for another name"},
		{"expired", issue(t, ca, expired), "certificate is not valid now"},
		{"self-signed", issue(t, nil, good), "certificate is self-signed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := simulator(t, cloudsim.Config{TLS: tt.server.server()})
			cfg, ck, h := config(strings.Replace(s.Endpoints().Broker, "127.0.0.1", "localhost", 1)), newClock(), &host{}
			cfg.User, cfg.Password, cfg.Roots, cfg.Cert, cfg.Key = "u", secret(canary), secret(roots), secret(cert), secret(key)
			cfg.Clock, cfg.RetryMin, cfg.RetryMax, cfg.Rand = ck, time.Second, 6*time.Second, func() float64 { return 0.5 }
			l := start(t, cfg, newEcho("gw-1"), h)
			pauses := []string{"750ms", "1.5s", "3s", "4.5s", "4.5s"}
			for i := range pauses {
				eventually(t, "the line", func() bool { return len(h.get(&h.logs)) > i })
				eventually(t, "the pause", func() bool { return l.Status().Attempts > i && (i == len(pauses)-1 || ck.next()) })
			}
			for i, line := range h.get(&h.logs) {
				at := strings.TrimPrefix(s.Endpoints().Broker, "tls://127.0.0.1")
				if i < len(pauses) && (!strings.HasPrefix(line, "tls://localhost"+at+": "+tt.want) || !strings.HasSuffix(line, "; next attempt in "+pauses[i])) {
					t.Errorf("line %d = %q, want where, %q and a pause of %s", i, line, tt.want, pauses[i])
				}
				if strings.Contains(line, canary) || strings.Contains(line, strings.Split(key, "\n")[1]) || strings.Contains(line, "\n") {
					t.Errorf("line %d holds a secret, or is more than one: %q", i, line)
				}
			}
			t.Log(h.get(&h.logs)[0])
		})
	}
}

func TestClientCertificates(t *testing.T) {
	ca := authority(t, "ca")
	server := issue(t, ca, x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, DNSNames: []string{"localhost"}}).server()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	server.ClientCAs.AddCert(ca.cert)
	s := simulator(t, cloudsim.Config{TLS: server})
	use := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	own := issue(t, ca, x509.Certificate{Subject: pkix.Name{CommonName: "gw-1"}, ExtKeyUsage: use})
	others := issue(t, ca, x509.Certificate{Subject: pkix.Name{CommonName: "gw-2"}, ExtKeyUsage: use})
	roots, _ := ca.pem(t)
	for _, tt := range []struct {
		name string
		show *identity
		keys *identity
		ok   bool
		want error // nil for any
	}{
		{"its own", own, own, true, nil},
		{"another's", others, others, false, mqtt.ErrRefused},
		{"none", nil, nil, false, nil},
		{"with another's key", own, others, false, mqtt.ErrSecret},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, h := config(strings.Replace(s.Endpoints().Broker, "127.0.0.1", "localhost", 1)), &host{}
			cfg.Roots = secret(roots)
			if tt.show != nil {
				cert, _ := tt.show.pem(t)
				_, key := tt.keys.pem(t)
				cfg.Cert, cfg.Key = secret(cert), secret(key)
			}
			l := start(t, cfg, newEcho("gw-1"), h)
			eventually(t, "settled", func() bool { st := l.Status(); return st.Connected || st.Err != nil })
			if st := l.Status(); st.Connected != tt.ok || tt.want != nil && !errors.Is(st.Err, tt.want) {
				t.Errorf("status = %+v, want connected %t, error %v", st, tt.ok, tt.want)
			}
		})
	}
}
