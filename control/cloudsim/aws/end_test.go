package aws_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
)

// TestMain fails if a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newSHA256 is the digest of "new".
const newSHA256 = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"

// push orders the release of files, once the device waits for news.
func (r *rig) push(d *device, job string, set map[string]any) {
	r.t.Helper()
	if d != nil && d.jobs {
		d.eventually("ready for another job", r.settled)
	}
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: job, Software: cloudsim.Software{File: release, Version: "2.0", Size: 3, SHA256: newSHA256}, Set: set}); err != nil {
		r.t.Fatal(err)
	}
}

// One update that goes well and one that does not, for a device that is there.
func TestUpdates(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			r := newRig(t, cloudsim.Config{Files: files(t, "new")}, aws.Config{})
			d := connect(t, w.dialect(t), mqtt.Config{URL: r.Endpoints().Broker})
			r.push(d, "j-1", w.set)
			c := d.command(1)
			if c.Name != "update" || c.Inputs["version"] != "2.0" || c.Inputs["size"] != "3" || len(c.Inputs["sha256"]) != 64 {
				t.Errorf("command = %+v", c)
			}
			if got := fetch(t, c.Inputs["url"]); got != "new" {
				t.Errorf("the file holds %q, want new", got)
			}
			d.link.Post(control.In{Kind: control.InEvent, Event: engine.Event{Run: "run-0", Kind: engine.EventRestart, State: "armed"}})
			d.end(c.ID, engine.Succeeded, "")
			if got, want := r.wait(1), "j-1 succeeded "+w.words[0]+" "; got[0] != want {
				t.Errorf("end %q, want %q", got[0], want)
			}
			d.eventually("delivered", func() bool { return d.owes() == 0 })
			r.push(d, "j-2", w.set)
			d.end(d.command(2).ID, engine.EndState("rolled_back"), "probe")
			if got, want := r.wait(2), "j-2 failed "+w.words[1]+" probe"; got[1] != want {
				t.Errorf("end %q, want %q", got[1], want)
			}
			d.eventually("all delivered", func() bool { return d.owes() == 0 })
		})
	}
}

func fetch(t *testing.T, address string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A push while the device is away, and the end of the simulator in the middle of the
// update: the cloud ends with the one true end.
func TestSimulatorIsKilled(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			cfg := cloudsim.Config{Files: files(t, "new"), State: t.TempDir()}
			r := newRig(t, cfg, aws.Config{})
			at := r.Endpoints()
			cfg.Listen, cfg.FilesListen = strings.TrimPrefix(at.Broker, "tcp://"), strings.TrimSuffix(strings.TrimPrefix(at.Files, "http://"), "/files/")
			r.push(nil, "j-1", w.set)
			d := connect(t, w.dialect(t), mqtt.Config{URL: at.Broker})
			c := d.command(1)
			r.close()
			d.end(c.ID, engine.Succeeded, "")
			r = newRig(t, cfg, aws.Config{})
			if got, want := r.wait(1), []string{"j-1 succeeded " + w.words[0] + " "}; !slices.Equal(got, want) {
				t.Errorf("ends = %q, want %q", got, want)
			}
			d.eventually("delivered", func() bool { return d.owes() == 0 })
			r.close()
			r = newRig(t, cfg, aws.Config{})
			d.eventually("back again", func() bool { return r.Connected("gw-1") })
			r.push(d, "j-2", w.set)
			d.end(d.command(2).ID, engine.Succeeded, "")
			if got := r.wait(2); len(got) != 2 || len(d.commands()) != 2 {
				t.Errorf("ends = %q after %d commands, want one each", got, len(d.commands()))
			}
		})
	}
}

// Messages that come twice, late or after the next change nothing. One acknowledgement
// in five is lost and not one in three: a connection that only says again what was lost
// may have three, so that it would be the same one each time.
func TestBadLine(t *testing.T) {
	for _, w := range ways() {
		for _, f := range []cloudsim.Fault{
			{Kind: cloudsim.FaultDuplicate}, {Kind: cloudsim.FaultReorder, Every: 2}, {Kind: cloudsim.FaultLostPuback, Every: 5},
			{Kind: cloudsim.FaultDelay, Delay: cloudsim.Duration(5 * time.Millisecond)}, {Kind: cloudsim.FaultDrop, Every: 5}, {Kind: cloudsim.FaultNewURL},
		} {
			t.Run(w.name+" "+string(f.Kind), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, cloudsim.Config{Files: files(t, "new")}, aws.Config{})
				d := connect(t, w.dialect(t), mqtt.Config{URL: r.Endpoints().Broker})
				if err := r.SetFault(f); err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					r.push(d, fmt.Sprintf("j-%d", i), w.set)
					state, code := engine.Succeeded, ""
					if i == 1 {
						state, code = "rolled_back", "probe"
					}
					d.end(d.command(i+1).ID, state, code)
					r.wait(i + 1)
					d.eventually("delivered", func() bool { return d.owes() == 0 }) // a delta of the same file that overtakes the acceptance waits for half a minute
				}
				want := []string{"j-0 succeeded " + w.words[0] + " ", "j-1 failed " + w.words[1] + " probe", "j-2 succeeded " + w.words[0] + " "}
				if got := r.wait(3); !slices.Equal(got, want) || len(d.commands()) != 3 {
					t.Errorf("ends = %q after %d commands, want %q", got, len(d.commands()), want)
				}
			})
		}
	}
}

// Requests that are too many are made again, and the job that is cancelled stops.
func TestThrottledAndCancelled(t *testing.T) {
	r := newRig(t, cloudsim.Config{Files: files(t, "new")}, aws.Config{Via: "jobs"})
	d := connect(t, jobs(t, map[string]string{"device": "gw-1"}), mqtt.Config{URL: r.Endpoints().Broker})
	r.push(d, "j-1", nil)
	c := d.command(1)
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbCancel}); err != nil {
		t.Fatal(err)
	}
	d.eventually("cancelled", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return slices.Equal(d.cancelled, []string{c.ID})
	})
	d.end(c.ID, engine.EndState("cancelled"), "")
	d.eventually("the end is let go", func() bool { return d.owes() == 0 })
	r.push(d, "j-2", nil)
	d.end(d.command(2).ID, engine.EndState("failed"), "probe")
	r.wait(2)
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbRetry}); err != nil {
		t.Fatal(err)
	}
	if c := d.command(3); c.ID != "j-2/2" {
		t.Errorf("command %s, want the second execution", c.ID)
	}
	d.end("j-2/2", engine.Succeeded, "")
	want := []string{"j-1 cancelled CANCELED ", "j-2 failed FAILED probe", "j-2 succeeded SUCCEEDED "}
	if got := r.wait(3); !slices.Equal(got, want) {
		t.Errorf("ends = %q, want %q", got, want)
	}
}

// A document that the device does not take is rejected by it.
func TestRejectedByTheDevice(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	connect(t, jobs(t, map[string]string{"device": "gw-1"}), mqtt.Config{URL: r.Endpoints().Broker})
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j-1", Set: map[string]any{"via": "jobs", "document": map[string]any{"url": 7}}}); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(1); !strings.HasPrefix(got[0], "j-1 rejected REJECTED document") {
		t.Errorf("end %q, want it rejected for its document", got[0])
	}
}

// A file that comes over the connection itself, on a line that turns blocks around and a
// stream that loses some.
func TestStreamOverTheConnection(t *testing.T) {
	r, data := streaming(t, 200_000, map[string]any{"loseEach": 40})
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultReorder, Every: 3}); err != nil {
		t.Fatal(err)
	}
	d := connect(t, jobs(t, map[string]string{"device": "gw-1"}), mqtt.Config{URL: r.Endpoints().Broker})
	c := d.command(1)
	name, file, err := awsjobs.ParseStreamURL(c.Inputs["url"])
	if err != nil {
		t.Fatal(err)
	}
	s, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "gw-1", Stream: name, File: file, Size: 200_000})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, d.link.Listen(s.Topics()...), s); !bytes.Equal(got, data) {
		t.Errorf("%d bytes came, want those of the file", len(got))
	}
	d.end(c.ID, engine.Succeeded, "")
	r.wait(1)
}

// read reads a stream on a port to its end.
func read(t *testing.T, p *mqtt.Port, s *awsjobs.Stream) []byte {
	t.Helper()
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	if in, err := p.Next(t.Context()); err != nil || in.Kind != control.InConnected {
		t.Fatalf("Next = %v, %v; want connected", in.Kind, err)
	}
	var got bytes.Buffer
	for {
		out, again := s.Poll(time.Now())
		if out.Kind != "" {
			p.Publish(out.Topic, out.Payload)
		}
		ctx, cancel := context.WithTimeout(t.Context(), again)
		in, err := p.Next(ctx)
		cancel()
		if err == nil && in.Kind == control.InMessage {
			if err := s.Message(in.Topic, in.Payload); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(&got, s); !errors.Is(err, awsjobs.ErrMore) {
			if err != nil {
				t.Fatal(err)
			}
			return got.Bytes()
		}
	}
}

// The server asks for a certificate, and takes the one that names the thing.
func TestClientCertificates(t *testing.T) {
	ca, caKey := issue(t, "root", nil, nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	server, _ := issue(t, "127.0.0.1", ca.Leaf, caKey)
	r := newRig(t, cloudsim.Config{Files: files(t, "new"), TLS: &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots, MinVersion: tls.VersionTLS12}},
		aws.Config{Certificate: true, Via: "jobs"})
	own, ownKey := issue(t, "gw-1", ca.Leaf, caKey)
	other, otherKey := issue(t, "gw-2", ca.Leaf, caKey)
	cfg := mqtt.Config{URL: r.Endpoints().Broker, Roots: pemSecret("CERTIFICATE", ca.Certificate[0])}
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		key  *ecdsa.PrivateKey
	}{{"another's", other, otherKey}, {"none", tls.Certificate{}, nil}} {
		bad := cfg
		bad.ID = "gw-1"
		if tt.key != nil {
			bad.Cert, bad.Key = pemSecret("CERTIFICATE", tt.cert.Certificate[0]), keySecret(t, tt.key)
		}
		l, err := mqtt.New(bad, jobs(t, map[string]string{"device": "gw-1"}), &device{t: t})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = l.Run(ctx) }()
		(&device{t: t}).eventually("refused: "+tt.name, func() bool { return errors.Is(l.Status().Err, mqtt.ErrRefused) })
		cancel()
		<-ended
	}
	cfg.Cert, cfg.Key = pemSecret("CERTIFICATE", own.Certificate[0]), keySecret(t, ownKey)
	d := connect(t, jobs(t, map[string]string{"device": "gw-1"}), cfg)
	r.push(d, "j-1", nil)
	d.end(d.command(1).ID, engine.Succeeded, "")
	r.wait(1)
}

// issue makes a certificate; without a parent one that signs others.
func issue(t *testing.T, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (tls.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	c.IPAddresses = append(c.IPAddresses, []byte{127, 0, 0, 1})
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, key
}

func pemSecret(kind string, der []byte) mqtt.Secret {
	return mqtt.SecretFrom("test", func() ([]byte, error) { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), nil })
}

func keySecret(t *testing.T, key *ecdsa.PrivateKey) mqtt.Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemSecret("PRIVATE KEY", der)
}

// A file below the folder is reached by the key of its placeholder.
func TestFilesOfPlaceholders(t *testing.T) {
	dir := files(t, "new")
	if err := os.WriteFile(filepath.Join(dir, "top.img"), []byte("top"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, cloudsim.Config{Files: dir}, aws.Config{})
	d := connect(t, jobs(t, map[string]string{"device": "gw-1"}), mqtt.Config{URL: r.Endpoints().Broker})
	document := `{"operation":"install","args":["${aws:iot:s3-presigned-url:https://s3.eu-west-1.amazonaws.com/bucket/top.img}"]}`
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j-1", Set: map[string]any{"via": "jobs", "document": document}}); err != nil {
		t.Fatal(err)
	}
	if c := d.command(1); c.Inputs["operation"] != "install" || fetch(t, c.Inputs["url"]) != "top" {
		t.Errorf("inputs = %v, want the file", c.Inputs)
	}
}
