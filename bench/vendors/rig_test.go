package vendors

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

var (
	modules = flag.String("vendors", "", "folder `DIR` with node_modules and bin; without it nothing is run")
	updraft string // the program, which TestMain builds; beside it updraft-agent
)

// ownAddress is one of this machine that has nothing else, for software that
// does not let the port be chosen.
const ownAddress = "127.77.0.1"

// limit is how long one piece of a vendor's software may take.
const limit = 40 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *modules == "" {
		return m.Run() // all of it skips
	}
	dir, err := os.MkdirTemp("", "vendors")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	updraft = filepath.Join(dir, "updraft")
	if out, err := exec.Command("go", "build", "-o", dir+"/", "../../cmd/updraft", "../../cmd/updraft-agent").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// wanted skips unless the flag is given.
func wanted(t *testing.T) {
	t.Helper()
	if *modules == "" {
		t.Skip("-vendors names no folder")
	}
}

// needModules skips unless the packages are there, and logs their versions.
func needModules(t *testing.T, names ...string) {
	t.Helper()
	wanted(t)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(*modules, "node_modules", name, "package.json"))
		if err != nil {
			t.Skipf("%s is not installed: %v", name, err)
		}
		t.Logf("%s %s", name, decoded[struct{ Version string }](t, text).Version)
	}
}

func decoded[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	return v
}

// sim is a simulator that runs as a process, in a folder of its own.
type sim struct {
	t            *testing.T
	plane, state string
	at           cloudsim.Endpoints
}

// simulate starts one; its log is shown if the test fails.
func simulate(t *testing.T, plane string, flags ...string) *sim {
	t.Helper()
	s := &sim{t: t, plane: plane, state: t.TempDir()}
	cmd := exec.Command(updraft, append([]string{"sim", plane, "--json", "--state", s.state, "--trace", s.file("trace")}, flags...)...)
	log := &output{}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the simulator ends with %v", err)
		}
		if t.Failed() {
			trace := s.trace()
			t.Logf("simulator:\n%s\nend of the trace:\n%s", log, trace[max(0, len(trace)-10_000):])
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the simulator prints no addresses: %v\n%s", err, log)
	}
	s.at = decoded[cloudsim.Endpoints](t, line)
	return s
}

func (s *sim) file(name string) string { return filepath.Join(s.state, name) }

func (s *sim) trace() string {
	text, err := os.ReadFile(s.file("trace"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// heard fails unless the trace has a line with all the texts.
func (s *sim) heard(texts ...string) {
	s.t.Helper()
	for line := range strings.Lines(s.trace()) {
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(line, text)
		}
		if !missing {
			return
		}
	}
	s.t.Errorf("no line of the trace has %q", texts)
}

// key is the device's.
func (s *sim) key(device string) string {
	text, err := os.ReadFile(filepath.Join(s.state, "keys", device))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// command runs a command that drives it.
func (s *sim) command(verb string, flags ...string) (stdout []byte, code int) {
	s.t.Helper()
	cmd := exec.Command(updraft, append([]string{"sim", s.plane, verb, "--state", s.state}, flags...)...)
	stderr := &output{}
	cmd.Stderr = stderr
	stdout, err := cmd.Output()
	if code = cmd.ProcessState.ExitCode(); code != 0 && code != 4 && code != 6 {
		s.t.Fatalf("%s: %v\n%s%s", verb, err, stdout, stderr)
	}
	return stdout, code
}

// push orders an update and waits for its end, which must be this one. A good one
// is to come once; of a failure some tell step by step.
func (s *sim) push(want cloudsim.Outcome, result string, flags ...string) {
	s.t.Helper()
	out, code := s.command("push", append([]string{"--json", "--wait", limit.String()}, flags...)...)
	end := decoded[struct{ End cloudsim.End }](s.t, out).End
	if end.Outcome != want || end.Result != result || want == cloudsim.Succeeded && end.Arrivals != 1 {
		s.t.Errorf("push ends with %d and %+v, want one %s as %q", code, end, want, result)
	}
}

func port(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// vendor is a program of a vendor, or a script that calls one.
type vendor struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *output
	end  chan error
}

// script runs one of testdata with Node; with becomes its environment.
func script(t *testing.T, name string, with map[string]string) *vendor {
	t.Helper()
	cmd := exec.Command("node", filepath.Join("testdata", name))
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(*modules, "node_modules"), "NODE_NO_WARNINGS=1")
	for key, value := range with {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	return start(t, name, cmd)
}

func start(t *testing.T, name string, cmd *exec.Cmd) *vendor {
	t.Helper()
	v := &vendor{t: t, name: name, cmd: cmd, out: &output{more: make(chan struct{})}, end: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = v.out, v.out
	var err error
	if v.in, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { v.end <- cmd.Wait() }()
	t.Cleanup(func() {
		v.stop()
		if t.Failed() {
			t.Logf("%s:\n%s", name, v.out)
		}
	})
	return v
}

// stop ends it if it has not ended. It is asked first, for it may have children.
func (v *vendor) stop() {
	_ = v.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-v.end:
		v.end <- err
	case <-time.After(limit):
		_ = v.cmd.Process.Kill()
		v.t.Errorf("%s does not end when it is asked to", v.name)
	}
}

// says waits until it has printed a text.
func (v *vendor) says(text string) {
	v.t.Helper()
	late := time.After(limit)
	for {
		have, more := v.out.look()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-more:
		case err := <-v.end:
			v.end <- err
			if have, _ := v.out.look(); !strings.Contains(have, text) {
				v.t.Fatalf("%s ends (%v) and has not said %q", v.name, err, text)
			}
			return
		case <-late:
			v.t.Fatalf("%s does not say %q", v.name, text)
		}
	}
}

// ends waits for its end, which must be a good one.
func (v *vendor) ends() {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), limit)
	defer cancel()
	select {
	case err := <-v.end:
		v.end <- err
		if err != nil {
			v.t.Fatalf("%s ends with %v", v.name, err)
		}
	case <-ctx.Done():
		v.t.Fatalf("%s does not end", v.name)
	}
}

// close ends its input, upon which it is to end well.
func (v *vendor) close() {
	v.t.Helper()
	if err := v.in.Close(); err != nil {
		v.t.Fatal(err)
	}
	v.says("closed")
	v.ends()
}

// output may be shared. The zero value cannot be waited for.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced with each write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = make(chan struct{})
	}
	return o.text.Write(p)
}

func (o *output) look() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.more
}

func (o *output) String() string {
	text, _ := o.look()
	return text
}

// pki is a certificate authority with a certificate for localhost, and one for
// a device that is called gw-1. The fields are files.
type pki struct{ ca, cert, key, deviceCert, deviceKey string }

func newPKI(t *testing.T) pki {
	t.Helper()
	dir := t.TempDir()
	p := pki{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "gw-1.pem"), filepath.Join(dir, "gw-1.key")}
	authority := &x509.Certificate{Subject: pkix.Name{CommonName: "vendors test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca := certify(t, authority, authority, nil, p.ca, filepath.Join(dir, "ca.key"))
	certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(ownAddress)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, authority, ca, p.cert, p.key)
	certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: "gw-1"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, authority, ca, p.deviceCert, p.deviceKey)
	return p
}

// certify makes a key and a certificate for it, signed with ca, or by itself if that is nil.
func certify(t *testing.T, c, authority *x509.Certificate, ca *ecdsa.PrivateKey, certFile, keyFile string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if ca == nil {
		ca = key
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, authority, key.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// image makes a folder with the file image.bin.
func image(t *testing.T, content []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "image.bin"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
