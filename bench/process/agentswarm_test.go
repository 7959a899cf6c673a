package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// swarm is a simulated cloud with its releases, for devices whose agents are
// processes.
type swarm struct {
	bin, dir string
	images   map[string][]byte // by version; those that end in "-sick" do not prove themselves
	remote   cloudsim.Remote

	mu  sync.Mutex
	sim *process
}

// wellness is the probe of the devices, which run no real program.
const wellness = "#!/bin/sh\ncase \"$1\" in *-sick) echo sick ;; *) echo well ;; esac\n"

// newSwarm makes the releases. The simulator is not started yet.
func newSwarm(t *testing.T, size int) *swarm {
	t.Helper()
	f := &swarm{bin: programs(t), dir: t.TempDir(), images: map[string][]byte{}}
	k := &kit{updraft: filepath.Join(f.bin, "updraft")}
	k.command(t, f.dir, k.updraft, "keys", "new", "maker", "--no-password")
	random := rand.NewChaCha8([32]byte{})
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0", "4.0.0-sick", "5.0.0-sick"} {
		image := make([]byte, size)
		_, _ = random.Read(image)
		f.images[version] = image
		if err := os.WriteFile(filepath.Join(f.dir, "image"), image, 0o600); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join("files", version)
		k.command(t, f.dir, k.updraft, "release", "new", "--name", "gw", "--version", version, "--artifact", "image=image", "--out", out)
		k.command(t, f.dir, k.updraft, "release", "sign", out, "--key", "maker.key")
	}
	t.Cleanup(func() {
		if f.sim != nil {
			f.sim.kill()
		}
	})
	return f
}

// start starts the simulator, where it was before, with these faults.
func (f *swarm) start(faults ...cloudsim.Fault) error {
	p, err := spawn(f.bin, f.dir, "updraft", "sim", "awsiot", "--files", "files", "--state", "cloud", "--json")
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.sim = p
	f.mu.Unlock()
	limit := time.After(30 * time.Second)
	for {
		have, more := p.look()
		if line, _, whole := strings.Cut(have, "\n"); whole {
			var at cloudsim.Endpoints
			if err := json.Unmarshal([]byte(line), &at); err != nil {
				return fmt.Errorf("the simulator says %s", have)
			}
			f.mu.Lock()
			f.remote = cloudsim.Remote{Control: at.Control}
			f.mu.Unlock()
			break
		}
		select {
		case <-more:
		case <-p.ended:
			return fmt.Errorf("the simulator ended: %s", p.text())
		case <-limit:
			return fmt.Errorf("the simulator does not start: %s", have)
		}
	}
	for _, fault := range faults {
		if _, err := f.cloud().SetFault(context.Background(), fault); err != nil {
			return err
		}
	}
	return nil
}

func (f *swarm) cloud() cloudsim.Remote {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remote
}

// broker is the address of the simulator's broker.
func (f *swarm) broker(t *testing.T) string {
	t.Helper()
	st, err := f.cloud().State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.Endpoints.Broker
}

// unit is a device of a swarm.
type unit struct {
	f    *swarm
	name string
	dir  string
}

// unit makes a device that listens to a broker. Lines of more are added to its plane.
func (f *swarm) unit(t *testing.T, name, broker string, more ...string) *unit {
	t.Helper()
	u := &unit{f: f, name: name, dir: filepath.Join(f.dir, name)}
	for file, text := range map[string]string{
		"agent.yaml": fmt.Sprintf(`apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes:
  cloud:
    dialect: awsiot
    url: %s
    id: %s
    keepAlive: 2s
    answerTimeout: 2s
%scommands: {cloud: {workflow: update.yaml}}
`, broker, name, strings.Join(append(more, ""), "\n")),
		"device.yaml": `apiVersion: updraft/v1
kind: Device
facts: {version: {target: rootfs}}
targets: {rootfs: {slots: {a: slot-a.img, b: slot-b.img}, boot: {file: boot.json}}}
report: {to: [{file: reports.ndjson}]}
trust: {require: signature, keys: [../maker.pub]}
`,
		"update.yaml": `apiVersion: updraft/v1
kind: Workflow
name: rootfs
inputs: {url: {type: string}}
steps:
  - id: image
    fetch: {manifest: "${{ inputs.url }}", artifact: image}
    retry: {max: 100, backoff: 100ms}
  - id: write
    install: {artifacts: {image: image}, targets: {out: {target: rootfs@inactive}}}
  - id: prove
    confirm:
      restart: device
      within: 2s
      every: 200ms
      probes: [{fact: version, equals: "${{ release.version }}"}, {exec: [./well, "${{ release.version }}"], equals: well}]
`,
		"slot-a.img": "the image from the factory",
		"slot-b.img": "",
	} {
		u.write(t, file, text, 0o600)
	}
	u.write(t, "well", wellness, 0o700)
	return u
}

func (u *unit) write(t *testing.T, file, text string, perm os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(u.dir, file), []byte(text), perm); err != nil {
		t.Fatal(err)
	}
}

// edit replaces a text that stands in a file of the device.
func (u *unit) edit(t *testing.T, file, from, to string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(u.dir, file))
	if err != nil || !bytes.Contains(text, []byte(from)) {
		t.Fatalf("%q is not in %s: %v", from, file, err)
	}
	u.write(t, file, strings.ReplaceAll(string(text), from, to), 0o600)
}

// agent starts the device's agent.
func (u *unit) agent() (*process, error) {
	return spawn(u.f.bin, u.dir, "updraft-agent", "--config", "agent.yaml", "--restart", "simulate")
}

// running is the image in the slot that runs.
func (u *unit) running() ([]byte, error) {
	active := "a"
	text, err := os.ReadFile(filepath.Join(u.dir, "boot.json"))
	if err == nil {
		var file struct{ Targets map[string]boot }
		if err := json.Unmarshal(text, &file); err != nil {
			return nil, err
		}
		if at := file.Targets["rootfs"]; at.Next != "" {
			return nil, fmt.Errorf("slot %s is still on trial", at.Next)
		} else if at.Active != "" {
			active = at.Active
		}
	}
	return os.ReadFile(filepath.Join(u.dir, "slot-"+active+".img"))
}

// holds says whether the slot that runs begins with an image.
func (u *unit) holds(image []byte) error {
	have, err := u.running()
	if err == nil && !bytes.HasPrefix(have, image) {
		err = fmt.Errorf("the slot that runs begins with %.20q, want %.20q", have, image)
	}
	return err
}

// desire pushes a job for an id of the device, also if the simulator is away meanwhile.
func (u *unit) desire(ctx context.Context, id, job, version string) error {
	for {
		_, err := u.f.cloud().Order(ctx, cloudsim.Order{Verb: cloudsim.VerbPush, Device: id, Job: job, Software: cloudsim.Software{File: version + "/release.json"}})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond) // it is being started again
	}
}

// end waits until the cloud knows the end of a job for an id of the device.
func (u *unit) end(ctx context.Context, id, job string) (cloudsim.End, error) {
	for {
		st, err := u.f.cloud().State(ctx)
		if err == nil {
			ends := st.Devices[id].Ends
			if i := slices.IndexFunc(ends, func(e cloudsim.End) bool { return e.Job == job }); i >= 0 {
				return ends[i], nil
			}
		}
		if ctx.Err() != nil {
			return cloudsim.End{}, fmt.Errorf("no end of %s of %s: %w", job, id, context.Cause(ctx))
		}
		time.Sleep(100 * time.Millisecond) // nothing tells of it while the simulator comes and goes
	}
}

// told counts lines of a file of the device that hold JSON, by what key says of
// each. Empty keys are left out.
func (u *unit) told(file string, key func(line map[string]any) string) (map[string]int, error) {
	data, err := os.ReadFile(filepath.Join(u.dir, file))
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for line := range bytes.Lines(data) {
		var m map[string]any
		if json.Unmarshal(line, &m) == nil {
			if k := key(m); k != "" {
				out[k]++
			}
		}
	}
	return out, nil
}
