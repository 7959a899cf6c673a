package process

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// maxCPU is what an agent without a cloud may use over five seconds.
const maxCPU = 300 * time.Millisecond

// TestAgentSilentBroker has the cloud take connections and answer nothing.
func TestAgentSilentBroker(t *testing.T) {
	f := newSwarm(t, 64)
	if err := f.start(); err != nil {
		t.Fatal(err)
	}
	u := f.unit(t, "gw-1", f.broker(t))
	p, err := u.agent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.says(t, "connected as", 1)
	if _, err := f.cloud().SetFault(t.Context(), cloudsim.Fault{Kind: cloudsim.FaultSilent}); err != nil {
		t.Fatal(err)
	}
	p.says(t, "does not answer", 1)
	idle(t, p)
	if _, err := f.cloud().SetFault(t.Context(), cloudsim.Fault{Kind: cloudsim.FaultNone}); err != nil {
		t.Fatal(err)
	}
	status := begin(t, u.dir, "updraft-agent", "status", "--config", "agent.yaml")
	if code := status.code(t); code != 0 || !strings.Contains(status.text(), "does not answer") {
		t.Errorf("status says %d, %q; want why there is no connection", code, status.text())
	}
	if code, took := p.stop(t, syscall.SIGTERM); code != 0 || took > 2*time.Second {
		t.Errorf("it stops with %d after %v, want 0 within 2s", code, took)
	}
}

// idle holds processes to little work over five seconds.
func idle(t *testing.T, all ...*process) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	var before []time.Duration
	for _, p := range all {
		before = append(before, cpuTime(t, p))
	}
	time.Sleep(5 * time.Second) // what is measured
	for i, p := range all {
		used := cpuTime(t, p) - before[i]
		t.Logf("%v of CPU time in 5s", used)
		if used > maxCPU {
			t.Errorf("it used %v of CPU time in 5s, want at most %v\n%s", used, maxCPU, p.text())
		}
	}
}

// cpuTime is what a process has used until now.
func cpuTime(t *testing.T, p *process) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // Linux tells them in hundredths of a second
}

// TestAgentWrongCertificate has brokers whose certificates are not right: the
// log says why, and the pauses between the attempts grow.
func TestAgentWrongCertificate(t *testing.T) {
	f := newSwarm(t, 64)
	authority := issue(t, nil, "authority", "", time.Hour)
	running := map[string]*process{}
	for _, tt := range []struct {
		name   string
		broker tls.Certificate
		want   string
	}{
		{"wrong-name", issue(t, &authority, "broker", "other.example", time.Hour), "certificate is for another name"},
		{"expired", issue(t, &authority, "broker", "localhost", -time.Minute), "certificate is not valid now"},
		{"self-signed", issue(t, nil, "broker", "localhost", time.Hour), "certificate is self-signed"},
	} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{tt.broker}, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		t.Cleanup(func() {
			_ = l.Close()
			<-ended
		})
		go func() {
			defer close(ended)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_ = conn.(*tls.Conn).Handshake() // which the agent ends
				_ = conn.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		u := f.unit(t, tt.name, "tls://localhost:"+port, "    secrets: {roots: {file: ca.pem}}")
		u.write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate[0]})), 0o600)
		p, err := u.agent()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		running[tt.want] = p
	}
	for _, p := range running {
		p.says(t, "next attempt in", 1)
	}
	idle(t, slices.Collect(maps.Values(running))...)
	next := regexp.MustCompile(`next attempt in (\S+)`)
	for want, p := range running {
		t.Run(want, func(t *testing.T) {
			p.says(t, "next attempt in", 3)
			if code, took := p.stop(t, syscall.SIGTERM); code != 0 || took > 2*time.Second {
				t.Errorf("it stops with %d after %v, want 0 within 2s", code, took)
			}
			for i, m := range next.FindAllStringSubmatch(p.text(), 3) {
				pause, err := time.ParseDuration(m[1])
				if longest := time.Second << i; err != nil || pause < longest/2 || pause > longest {
					t.Errorf("pause %d is %s, want %v to %v", i+1, m[1], longest/2, longest)
				}
			}
			lines := strings.Split(strings.TrimSpace(p.text()), "\n")
			if n := strings.Count(p.text(), want); n < 3 || n > 5 || len(lines) > n+2 {
				t.Errorf("%d lines say %q, want 3 to 5 and little else in\n%s", n, want, p.text())
			}
		})
	}
}

// issue makes a certificate for a name, by itself if there is no authority.
func issue(t *testing.T, authority *tls.Certificate, subject, host string, valid time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if host == "" {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		template.DNSNames = []string{host}
	}
	parent, by := template, any(key)
	if authority != nil {
		if parent, err = x509.ParseCertificate(authority.Certificate[0]); err != nil {
			t.Fatal(err)
		}
		by = authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
