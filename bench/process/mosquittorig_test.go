package process

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// fleet is mosquitto, the cloud behind it, and a folder for each device.
type fleet struct {
	dir    string
	port   string
	broker *process
	sim    *aws.Sim // mosquitto is a client of its, and hands on what devices say
	files  *gate
}

const mosquittoConf = `listener %[1]s 127.0.0.1
cafile %[2]s/ca.pem
certfile %[2]s/localhost.pem
keyfile %[2]s/localhost.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file %[2]s/acl
persistence %[3]s
persistence_location %[2]s/
autosave_on_changes true
autosave_interval 1
log_type all
user root

connection cloud
address %[4]s
remote_clientid mosquitto
try_private false
notifications false
restart_timeout 1
topic state/+/update out 1
topic state/+/update/+ in 1
`

const mosquittoACL = `user cloud
topic readwrite state/#
pattern write state/%u/update
pattern read state/%u/update/delta
pattern read state/%u/update/accepted
pattern read state/%u/update/rejected
`

func newFleet(t *testing.T, a *authority, persistence string) *fleet {
	t.Helper()
	m := &fleet{dir: t.TempDir(), port: freePort(t), files: newGate(t)}
	t.Cleanup(func() { m.nothingLeft(t) })
	var err error
	if m.sim, err = aws.Start(cloudsim.Config{Applications: []string{"mosquitto"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.sim.Close() })
	for _, name := range []string{"localhost", "gw-1", "gw-2", "cloud"} {
		a.client(t, m.dir, name)
	}
	m.write(t, "ca.pem", string(a.pem))
	m.write(t, "acl", mosquittoACL)
	m.write(t, "mosquitto.conf", fmt.Sprintf(mosquittoConf, m.port, m.dir, persistence, strings.TrimPrefix(m.sim.Endpoints().Broker, "tcp://")))
	m.startBroker(t)
	return m
}

func mosquittoPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} { // people's PATH has no sbin
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("-mosquitto: mosquitto is neither in PATH nor in /usr/sbin: apt-get install mosquitto")
	return ""
}

func (m *fleet) startBroker(t *testing.T) {
	t.Helper()
	m.broker = begin(t, m.dir, mosquittoPath(t), "-c", "mosquitto.conf")
	m.broker.says(t, "Received SUBACK from local.", 1) // from the cloud
}

// nothingLeft is called when all must have ended, with what they started.
// All of that is in the fleet's folder.
func (m *fleet) nothingLeft(t *testing.T) {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil || len(links) == 0 {
		t.Errorf("no processes in /proc: %v", err)
	}
	for _, link := range links {
		// One that has ended meanwhile, or is somebody else's, cannot be read.
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, m.dir) {
			t.Errorf("a process is left: %s", filepath.Dir(link))
		}
	}
}

func (m *fleet) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// agent starts the agent of a device with somebody's certificate.
func (m *fleet) agent(t *testing.T, id, cert, more string) *process {
	t.Helper()
	m.write(t, id+"/agent.yaml", fmt.Sprintf(`apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes:
  fleet:
    dialect: awsiot
    url: tls://localhost:%s
    id: %s
    secrets: {cert: {file: ../%[3]s.pem}, key: {file: ../%[3]s.key}, roots: {file: ../ca.pem}}
    %s
commands: {fleet: {workflow: update.yaml}}
`, m.port, id, cert, more))
	m.write(t, id+"/device.yaml", `apiVersion: updraft/v1
kind: Device
targets: {app: {file: app.conf}}
trust: {require: sha256}
`)
	m.write(t, id+"/update.yaml", `apiVersion: updraft/v1
kind: Workflow
name: app
inputs: {url: {type: string}, sha256: {type: string}, size: {type: int}}
steps:
  - id: new
    fetch: {url: "${{ inputs.url }}", sha256: "${{ inputs.sha256 }}", size: "${{ inputs.size }}"}
  - id: write
    install: {artifacts: {new: new}, targets: {out: {target: app}}}
`)
	return begin(t, m.dir, filepath.Join(programs(t), "updraft-agent"), "--config", id+"/agent.yaml")
}

// stops ends the agent as its supervisor would.
func (m *fleet) stops(t *testing.T, agent *process) {
	t.Helper()
	code, took := agent.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("the agent ends with %d, want 0:\n%s", code, agent.text())
	}
	t.Logf("SIGTERM ends the agent in %v", took.Round(time.Millisecond))
}

// answered waits until the cloud has heard of a device.
func (m *fleet) answered(t *testing.T, id string) {
	t.Helper()
	m.wait(t, id, func(d aws.Device) bool { return d.Version > 0 })
}

func (m *fleet) wait(t *testing.T, id string, ok func(aws.Device) bool) aws.Device {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := m.sim.Wait(ctx, id, ok)
	if err != nil {
		t.Fatalf("%v: the cloud has %+v", err, d)
	}
	return d
}

// next waits for the next of something.
func next[T any](t *testing.T, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came in 30s")
	}
	return got
}

func (m *fleet) push(t *testing.T, job string) {
	t.Helper()
	_, err := m.sim.Push("gw-1", map[string]any{"jobID": job, "softwareURL": m.files.URL + "/app", "size": len(m.files.data), "sha256": m.files.digest()})
	if err != nil {
		t.Fatal(err)
	}
}

func (m *fleet) delta(job string) string {
	return fmt.Sprintf(`{"state": {"jobID": %q, "softwareURL": %q, "size": %d, "sha256": %q}, "version": 1000}`, job, m.files.URL+"/app", len(m.files.data), m.files.digest())
}

// succeeds waits for the one report of a job.
func (m *fleet) succeeds(t *testing.T, job string) {
	t.Helper()
	d := m.wait(t, "gw-1", func(d aws.Device) bool { return len(d.Ends) > 0 })
	if e := d.Ends[0]; len(d.Ends) != 1 || e.Job != job || e.Result != "SUCCESS" {
		t.Errorf("ends %+v, want one success of %s", d.Ends, job)
	}
}

func (m *fleet) updated(t *testing.T) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(m.dir, "gw-1", "app.conf")); err != nil || !bytes.Equal(got, m.files.data) {
		t.Errorf("the device has %d bytes (%v), want the new %d", len(got), err, len(m.files.data))
	}
}

// client connects with a certificate and subscribes; the topics of what it
// gets come through the channel.
func (m *fleet) client(t *testing.T, cert, id string, topics ...string) (paho.Client, <-chan string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(m.dir, cert+".pem"), filepath.Join(m.dir, cert+".key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if ca, err := os.ReadFile(filepath.Join(m.dir, "ca.pem")); err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("ca.pem: %v", err)
	}
	heard := make(chan string, 100)
	o := paho.NewClientOptions().AddBroker("tls://localhost:" + m.port).SetClientID(id).SetAutoReconnect(false)
	o.SetTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12})
	o.SetDefaultPublishHandler(func(_ paho.Client, got paho.Message) { heard <- got.Topic() })
	c := paho.NewClient(o)
	m.done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(100) })
	for _, topic := range topics {
		m.done(t, c.Subscribe(topic, 1, nil))
	}
	return c, heard
}

func (m *fleet) publish(t *testing.T, c paho.Client, topic, payload string) {
	t.Helper()
	m.done(t, c.Publish(topic, 1, false, payload))
}

func (m *fleet) done(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatalf("mosquitto's answer after at most 10s: %v", token.Error())
	}
}

// gate serves one file; it can hold back the second half.
type gate struct {
	*httptest.Server
	data []byte
	half chan struct{} // gets one for each answer that is held

	mu   sync.Mutex
	open chan struct{}
	gets int
}

func newGate(t *testing.T) *gate {
	g := &gate{data: make([]byte, 4<<20), half: make(chan struct{}, 10), open: make(chan struct{})}
	_, _ = rand.Read(g.data)
	close(g.open)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.gets++
		open := g.open
		g.mu.Unlock()
		w.Header().Set("Content-Length", fmt.Sprint(len(g.data)))
		_, _ = w.Write(g.data[:len(g.data)/2])
		_ = http.NewResponseController(w).Flush()
		g.half <- struct{}{}
		select {
		case <-open:
			_, _ = w.Write(g.data[len(g.data)/2:])
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gets
}

func (g *gate) digest() string { return fmt.Sprintf("%x", sha256.Sum256(g.data)) }

// authority vouches for certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	last int64 // serial number
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{last: 1}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// client writes NAME.pem and NAME.key into a folder; the broker's are of the
// same kind.
func (a *authority) client(t *testing.T, dir, name string) {
	t.Helper()
	a.last++
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
