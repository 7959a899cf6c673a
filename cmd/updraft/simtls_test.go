package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by ca or by itself.
func issue(t *testing.T, name string, ca *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &issued{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: ca == nil, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent := ca
	if ca == nil {
		parent = &issued{template, key}
		template.KeyUsage = x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		t.Fatal(err)
	}
	if made.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return made
}

// save writes the certificate, and its key if asked, as PEM.
func (i *issued) save(t *testing.T, certFile, keyFile string) {
	t.Helper()
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if keyFile == "" {
		return
	}
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (i *issued) pair() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key}
}

func TestSimOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca := issue(t, "ca", nil)
	file := func(name string) string { return filepath.Join(dir, name) }
	ca.save(t, file("ca.pem"), file("ca.key"))
	issue(t, "broker", ca).save(t, file("cert.pem"), file("key.pem"))
	begin(t, "sim", "awsiot", "--state", "", "--tls-cert", file("cert.pem"), "--tls-key", file("key.pem"), "--client-ca", file("key.pem")).end(t, exitUsage)

	s := startSim(t, file("state"), "--tls-cert", file("cert.pem"), "--tls-key", file("key.pem"), "--client-ca", file("ca.pem"))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	dial := func(certificates ...tls.Certificate) *tls.Conn {
		t.Helper()
		at, ok := strings.CutPrefix(s.at.Broker, "tls://")
		if !ok {
			t.Fatalf("the broker is at %s, want tls://", s.at.Broker)
		}
		conn, err := tls.Dial("tcp", at, &tls.Config{RootCAs: roots, Certificates: certificates})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	connected(t, dial(issue(t, "gw-1", ca).pair()), "gw-1")
	s.stderr.want(t, " gw-1 connected\n")

	for name, certificates := range map[string][]tls.Certificate{
		"none": nil, "of another CA": {issue(t, "gw-2", issue(t, "other", nil)).pair()}, "of another device": {issue(t, "gw-3", ca).pair()},
	} {
		conn := dial(certificates...)
		packet := "\x00\x04MQTT\x04\x02\x00\x3c" + field("gw-2")
		_, _ = conn.Write(append([]byte{0x10, byte(len(packet))}, packet...)) // it may be closed already
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		answer := make([]byte, 4)
		if n, err := conn.Read(answer); n == 4 && answer[3] == 0 || os.IsTimeout(err) {
			t.Errorf("certificate %s: CONNACK %v, %v; want a refusal", name, answer[:n], err)
		}
	}
	if text, _ := s.stderr.look(); strings.Contains(text, "gw-2 connected") || !strings.Contains(text, `"gw-2" is refused: the certificate is of "gw-3"`) {
		t.Errorf("a device without its certificate came in:\n%s", text)
	}
	s.stop()
	s.end(t, exitSucceeded)
	noGoroutines(t)
}

// One certificate serves the broker, the cloud's own HTTP and, if it is asked
// for, the files; a certificate of the client is asked for where that is said.
func TestSimSecureEverywhere(t *testing.T) {
	dir := t.TempDir()
	ca := issue(t, "ca", nil)
	file := func(name string) string { return filepath.Join(dir, name) }
	issue(t, "broker", ca).save(t, file("cert.pem"), file("key.pem"))
	if err := os.Mkdir(file("files"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("files/v2.img"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for _, asks := range []bool{false, true} {
		c := begin(t, "sim", "hawkbit", "--state", file("state"), "--device", "gw-1", "--files", file("files"), "--json", "--https",
			"--tls-cert", file("cert.pem"), "--tls-key", file("key.pem"), fmt.Sprintf("--request-client-certificate=%t", asks))
		c.stdout.want(t, "\n")
		text, _ := c.stdout.look()
		at := decoded[cloudsim.Endpoints](t, text)
		if !strings.HasPrefix(at.Broker, "tls://") || !strings.HasPrefix(at.Face, "https://") || !strings.HasPrefix(at.Files, "https://") {
			t.Errorf("endpoints %+v, want all of them secure", at)
		}
		asked := false
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = true
				return &tls.Certificate{}, nil
			}}}}
		for _, url := range []string{at.Files + "v2.img", at.Face + "/DEFAULT/controller/v1/gw-1"} {
			res, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[url != at.Face+"/DEFAULT/controller/v1/gw-1"]; res.StatusCode != want {
				t.Errorf("%s answers %d, want %d", url, res.StatusCode, want)
			}
		}
		if asked != asks {
			t.Errorf("a certificate of the client was asked for: %t, want %t", asked, asks)
		}
		c.stop()
		c.end(t, exitSucceeded)
	}
	noGoroutines(t)
}

// The cloud's clock may be another one than the device's.
func TestSimClock(t *testing.T) {
	cfg, err := simFlags{clockOffset: time.Hour}.config()
	if err != nil {
		t.Fatal(err)
	}
	if ahead := time.Until(cfg.Now()); ahead < 59*time.Minute || ahead > time.Hour {
		t.Errorf("the clock is %v ahead, want an hour", ahead)
	}
}
