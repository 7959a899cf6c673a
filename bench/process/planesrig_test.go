package process

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// cloudPlane is a cloud as examples/planes has it, with its simulator.
type cloudPlane struct {
	name string // of the folder
	sim  string // the simulator
	args []string
	// edit makes of the plane in agent.yaml one for a simulator; URL, FACE and
	// ID stand for its addresses and the device.
	edit []string
	set  map[string]any // of orders
	app  bool           // the image is a package with an app
}

// allPlanes are those of examples/planes.
func allPlanes() []cloudPlane {
	return []cloudPlane{
		{name: "azurehub", sim: "azurehub", edit: []string{"id: gw-1 ", "id: ID\n    url: URL\n    keepAlive: 2s\n    answerTimeout: 2s ", "contoso.azure-devices.net", "localhost", "# shape: firmware", "shape: firmware\n      plain: true"},
			set: map[string]any{"shape": "twin"}},
		{name: "adu", sim: "adu", edit: []string{"id: gw-1 ", "id: ID\n    url: URL\n    keepAlive: 2s\n    answerTimeout: 2s ", "contoso.azure-devices.net", "localhost\n      rootKeys: rootkeys.json\n      plain: true"}},
		{name: "tencent", sim: "tencent", edit: []string{"id: gw-1 ", "id: ID\n    url: URL\n    keepAlive: 2s\n    answerTimeout: 2s "}},
		{name: "awsiot", sim: "awsiot", edit: []string{"tls://example-ats.iot.eu-central-1.amazonaws.com:8883", "URL\n    keepAlive: 2s\n    answerTimeout: 2s", "id: gw-1 ", "id: ID ", "    secrets: {cert: {file: cert.pem}, key: {file: cert.key}}\n", ""}},
		{name: "awsjobs", sim: "awsiot", edit: []string{"tls://example-ats.iot.eu-central-1.amazonaws.com:8883", "URL\n    keepAlive: 2s\n    answerTimeout: 2s", "id: gw-1 ", "id: ID ", "    secrets: {cert: {file: cert.pem}, key: {file: cert.key}}\n", ""},
			set: map[string]any{"via": "jobs"}},
		{name: "haas", sim: "haas", args: []string{"--product", "a1B2c3"}, edit: []string{"a1B2c3.gw-1 ", "a1B2c3.ID\n    url: URL\n    keepAlive: 2s\n    answerTimeout: 2s ", "      region: cn-shanghai                      # from which the broker follows\n", ""},
			set: map[string]any{"appId": "8800100099990000"}, app: true},
		{name: "aliyunota", sim: "aliyunota", args: []string{"--product", "a1B2c3"}, edit: []string{"a1B2c3.gw-1 ", "a1B2c3.ID\n    url: URL\n    keepAlive: 2s\n    answerTimeout: 2s ", "    settings: {region: cn-shanghai}            # from which the broker follows\n", ""}},
		{name: "hawkbit", sim: "hawkbit", args: []string{"--poll", "1s"}, edit: []string{"https://hawkbit.example", "FACE", "id: gw-1 ", "id: ID ", "target.token", "device.key", "os/*.img", "os/*"}},
	}
}

// cloudFleet is a simulated cloud with devices whose agents are processes.
type cloudFleet struct {
	p        cloudPlane
	bin, dir string
	names    []string // of devices
	modules  map[string][]byte

	mu     sync.Mutex
	sim    *process
	remote cloudsim.Remote
	at     cloudsim.Endpoints
}

var planeWasm sync.Map // by folder of the source: bytes of the module

// planeModule builds a module of the examples once; the test is skipped
// without a compiler.
func planeModule(t *testing.T, source string) []byte {
	t.Helper()
	if wasm, ok := planeWasm.Load(source); ok {
		return wasm.([]byte)
	}
	out := filepath.Join(t.TempDir(), "module.wasm")
	err := toolchain.Build(t.Context(), toolchain.Options{Dir: filepath.Join("..", "..", "examples", filepath.FromSlash(source)), Out: out})
	var none *toolchain.Missing
	if errors.As(err, &none) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	planeWasm.Store(source, wasm)
	return wasm
}

func newCloudFleet(t *testing.T, p cloudPlane, names ...string) *cloudFleet {
	t.Helper()
	f := &cloudFleet{p: p, bin: programs(t), dir: t.TempDir(), names: names,
		modules: map[string][]byte{"ab-slot.wasm": planeModule(t, "install-c"), "haas-app.wasm": planeModule(t, "planes/haas-app")}}
	if err := os.Mkdir(filepath.Join(f.dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f.sim != nil {
			f.sim.kill()
		}
	})
	return f
}

// start starts the simulator, where it was before, with these faults.
func (f *cloudFleet) start(faults ...cloudsim.Fault) error {
	args := append([]string{"sim", f.p.sim, "--files", "files", "--state", "cloud", "--trace", "trace.ndjson", "--json"}, f.p.args...)
	if f.p.sim != "awsiot" {
		for _, name := range f.names {
			args = append(args, "--device", name)
		}
	}
	p, err := spawn(f.bin, f.dir, "updraft", args...)
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
			f.remote, f.at = cloudsim.Remote{Control: at.Control}, at
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

func (f *cloudFleet) cloud() cloudsim.Remote {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remote
}

// planeUnit is a device of a fleet.
type planeUnit struct {
	f         *cloudFleet
	name, dir string
	images    int
	first     int64 // job ids follow it; vendors that number theirs take it as a number
	orders    int64
}

// unit makes a device out of examples/planes. The simulator must run.
func (f *cloudFleet) unit(t *testing.T, name string) *planeUnit {
	t.Helper()
	base := filepath.Join(f.dir, name)
	u := &planeUnit{f: f, name: name, dir: filepath.Join(base, f.p.name), first: 7_000_000 + 1000*int64(slices.Index(f.names, name))}
	if err := os.CopyFS(base, os.DirFS(filepath.Join("..", "..", "examples", "planes"))); err != nil {
		t.Fatal(err)
	}
	for module, wasm := range f.modules {
		u.write(t, filepath.Join("..", module), wasm, 0o600)
	}
	pairs := append([]string{}, f.p.edit...)
	pairs = append(pairs, "URL", f.at.Broker, "FACE", f.at.Face, "ID", name)
	text, err := os.ReadFile(filepath.Join(u.dir, "agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(f.p.edit); i += 2 {
		if !bytes.Contains(text, []byte(f.p.edit[i])) {
			t.Fatalf("%q is not in the agent file:\n%s", f.p.edit[i], text)
		}
	}
	now := string(text)
	for i := 0; i < len(pairs); i += 2 {
		now = strings.ReplaceAll(now, pairs[i], pairs[i+1])
	}
	u.write(t, "agent.yaml", []byte(now), 0o600)
	flow, err := os.ReadFile(filepath.Join(u.dir, "update.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	u.write(t, "update.yaml", []byte(strings.NewReplacer("within: 5m", "within: 2s\n      every: 200ms", "{max: 20, backoff: 2s}", "{max: 200, backoff: 100ms}").Replace(string(flow))), 0o600)
	if key, err := os.ReadFile(filepath.Join(f.dir, "cloud", "keys", name)); err == nil {
		u.write(t, "device.key", key, 0o600)
	}
	if f.p.name == "adu" {
		out, err := exec.Command(filepath.Join(f.bin, "updraft"), "sim", "adu", "keys", "--state", filepath.Join(f.dir, "cloud")).Output()
		if err != nil {
			t.Fatal(err)
		}
		u.write(t, "rootkeys.json", out, 0o600)
	}
	if f.p.app {
		u.write(t, "app/first/manifest.json", fmt.Appendf(nil, "{\n\t\"appName\": \"demo\",\n\t\"version\": \"1.0.0\",\n\t\"appid\": \"8800100099990000\"\n}\n"), 0o600)
		u.write(t, "app/first/main.py", []byte("print('first')\n"), 0o600)
		if err := os.Symlink("first", filepath.Join(u.dir, "app/current")); err != nil {
			t.Fatal(err)
		}
	} else {
		u.write(t, "slot-a.img", []byte("version 1.0.0\nhealth ok\n"), 0o600)
		u.write(t, "slot-b.img", nil, 0o600)
	}
	return u
}

func (u *planeUnit) write(t *testing.T, file string, data []byte, perm os.FileMode) {
	t.Helper()
	name := filepath.Join(u.dir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, perm); err != nil {
		t.Fatal(err)
	}
}

// image makes an image of a size and gives the name of its file.
func (u *planeUnit) image(version string, sick bool, size int) (string, error) {
	u.images++
	random := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(u.images)}).Read(random)
	health := "ok"
	if sick {
		health = "sick"
	}
	name := fmt.Sprintf("%s-%d.img", u.name, u.images)
	data := append([]byte("version "+version+"\nhealth "+health+"\n"), random...)
	if u.f.p.app {
		main := "print('well')\n"
		if sick {
			main = "# sick\n"
		}
		name = fmt.Sprintf("demo-8800100099990000-%s.tar.gz", version)
		data = pack(map[string]string{"manifest.json": fmt.Sprintf("{\n\t\"appName\": \"demo\",\n\t\"version\": %q,\n\t\"appid\": \"8800100099990000\"\n}\n", version), "main.py": main, "data.bin": string(random)})
		name = filepath.Join(u.name, name)
	}
	file := filepath.Join(u.f.dir, "files", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	return filepath.ToSlash(name), os.WriteFile(file, data, 0o600)
}

// pack is a package of an app.
func pack(files map[string]string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range []string{"manifest.json", "main.py", "data.bin"} {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg})
		_, _ = w.Write([]byte(files[name]))
	}
	_, _ = w.Close(), z.Close()
	return out.Bytes()
}

func (u *planeUnit) agent() (*process, error) {
	return spawn(u.f.bin, u.dir, "updraft-agent", "--config", "agent.yaml", "--restart", "simulate")
}

// order wants an update, also if the simulator is away meanwhile or the device
// has not come yet. A simulator that dies before it answers may have taken the
// order all the same: then it is there when it is back.
func (u *planeUnit) order(ctx context.Context, o cloudsim.Order) (cloudsim.Done, error) {
	u.orders++
	o.Device, o.Set, o.Job = u.name, u.f.p.set, fmt.Sprint(u.first+u.orders)
	for {
		done, err := u.f.cloud().Order(ctx, o)
		if err == nil && len(done) == 1 {
			return done[0], nil
		}
		if st, no := u.f.cloud().State(ctx); no == nil {
			r := st.Devices[u.name]
			for _, e := range r.Ends {
				if e.Job == o.Job {
					return cloudsim.Done{Job: o.Job}, nil
				}
			}
			if strings.Contains(string(r.Doc), `"`+o.Job+`"`) || strings.Contains(string(r.Doc), ":"+o.Job+",") {
				return cloudsim.Done{Job: o.Job}, nil
			}
		}
		if ctx.Err() != nil {
			return cloudsim.Done{}, fmt.Errorf("order: %w", err)
		}
		time.Sleep(100 * time.Millisecond) // it is being started again
	}
}

// end waits until the cloud knows the end of a job.
func (u *planeUnit) end(ctx context.Context, job string) (cloudsim.End, error) {
	for {
		st, err := u.f.cloud().State(ctx)
		if err == nil {
			for _, e := range st.Devices[u.name].Ends {
				if e.Job == job {
					return e, nil
				}
			}
		}
		if ctx.Err() != nil {
			return cloudsim.End{}, fmt.Errorf("no end of %s of %s: %w; the cloud has %s", job, u.name, context.Cause(ctx), st.Devices[u.name].Doc)
		}
		time.Sleep(100 * time.Millisecond) // nothing tells of it while the simulator comes and goes
	}
}

// running is the version that the device says it runs.
func (u *planeUnit) running() (string, error) {
	script := "../running"
	if u.f.p.app {
		script = "./running"
	}
	cmd := exec.Command(script, "version")
	cmd.Dir = u.dir
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
