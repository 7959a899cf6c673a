package hub_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
)

// authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, cert}
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue gives a certificate and its key, PEM.
func (a authority) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func secret(data []byte) mqtt.Secret {
	return mqtt.SecretFrom("test", func() ([]byte, error) { return data, nil })
}

// A device that shows a certificate is updated; one that shows another device's is not let in.
func TestCertificates(t *testing.T) {
	ours := newAuthority(t)
	pair := func(cert, key []byte) tls.Certificate {
		c, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var told events
	cloud := newHub(t, hub.Config{Accounts: cloudsim.Accounts{Host: hostName, Devices: map[string]string{"gw-1": ""}}})
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin"), Events: told.tell, TLS: &tls.Config{
		Certificates: []tls.Certificate{pair(ours.issue(t, "hub"))}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ours.pool()}}, cloud)
	connect := func(name string, e *engineSide) *gateway {
		cert, key := ours.issue(t, name)
		d, err := azurehub.New(azurehub.Config{Device: "gw-1"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ours.cert.Raw})
		login, err := azurehub.Identity{Host: hostName, Device: "gw-1"}.Login("", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return runLink(t, mqtt.Config{URL: s.Endpoints().Broker, ID: login.ClientID, User: login.User, Cert: secret(cert), Key: secret(key), Roots: secret(roots),
			RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond}, d, e)
	}
	wrong := connect("gw-2", &engineSide{})
	eventually(t, "refused", func() bool { return len(told.texts(cloudsim.EventRefused)) > 0 })
	wrong.stop()
	if text := told.texts(cloudsim.EventRefused)[0]; !strings.Contains(text, `of "gw-2"`) || s.Connected("gw-1") {
		t.Errorf("refused = %q, want the name in the certificate", text)
	}
	g := connect("gw-1", &engineSide{})
	g.ready(t)
	order(t, s, push("j-1", nil))
	g.report(g.command(t, 1), engine.Succeeded, "", "")
	ended(t, s, "gw-1", "j-1")
	only(t, s, "gw-1", "j-1 succeeded completed")
}
