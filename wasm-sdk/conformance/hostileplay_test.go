package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// TestPlaysHostileCase is the process that [TestHostile] starts.
func TestPlaysHostileCase(t *testing.T) {
	which, engine, _ := strings.Cut(os.Getenv(playing), " ")
	i, err := strconv.Atoi(which)
	if err != nil {
		t.Skip("TestHostile starts it")
	}
	h, err := wasmhost.New(t.Context(), wasmhost.Config{Engine: wasmhost.Engine(engine)})
	if err != nil {
		t.Fatal(err)
	}
	v := &verdict{Counted: true}
	if c := hostileCases()[i]; c.play != nil {
		c.play(t, h, v)
	} else {
		trials := c.trials()
		forgetPeak(t)
		for _, tr := range trials {
			tr.play(t, h, v)
		}
	}
	v.Peak = peakMemory()
	v.alive(t, h)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("verdict %s\n", text)
}

// forgetPeak begins the peak anew, so that it does not hold the making of
// the modules. Where that cannot be done it holds more.
func forgetPeak(t *testing.T) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Logf("the peak holds the making of the modules: %v", err)
	}
}

// peakMemory is the most resident bytes that this process had, where Linux
// tells, or 0.
func peakMemory() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0
	}
	return kib << 10
}

// alive has the same host run a good module.
func (v *verdict) alive(t *testing.T, h *wasmhost.Host) {
	g := installer()
	m, err := h.Load(t.Context(), g.bytes(1, g.installs()), wasmhost.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s := installSetup(device.Slots, 100_000)
	if o := run(t, m, s); !o.Well() || o.Targets["out"].SHA256 != s.Artifacts["image"].SHA256() {
		v.fail("afterwards a good module ended with %s", o.end())
	}
	if err := m.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// limited gives the limits of a trial with the defaults filled in.
func (tr *trial) limited() wasmhost.Limits {
	l := tr.limits
	if l.Memory == 0 {
		l.Memory = hostileMemory
	}
	if l.Fuel == 0 {
		l.Fuel = hostileFuel
	}
	if l.Wall == 0 {
		l.Wall = hostileWall
	}
	return l
}

// play tries one module and notes how that ended.
func (tr trial) play(t *testing.T, h *wasmhost.Host, v *verdict) {
	r, untouched := tr.rig(t)
	l, open := tr.limited(), descriptors()
	begin := time.Now()
	usage, err := tr.run(t, h, r, l)
	took, limit, wall := time.Since(begin), l.Memory, l.Wall
	if tr.compiles {
		limit, wall = compileMemory, compileWall
	}
	v.took(took, wall)
	v.Trials++
	if usage.Memory > l.Memory {
		v.fail("%s: %d bytes of linear memory, the limit is %d", tr.name, usage.Memory, l.Memory)
	}
	v.Limit = max(v.Limit, limit)
	v.Fuel += usage.Fuel
	v.Counted = v.Counted && tr.want != wasmhost.Wall
	v.ended(tr.name, tr.want, err)
	logged := 0
	for _, line := range r.said {
		logged += len(line.Text) + 1
	}
	if logged > abi.MaxLog+1<<10 {
		v.fail("%s: %d bytes of log", tr.name, logged)
	}
	if now := descriptors(); now > open+1 { // the device keeps the folder of what is staged
		v.fail("%s: %d descriptors are open, %d were before", tr.name, now, open)
	}
	untouched(v)
}

// descriptors is how many files this process has open, 0 where Linux does not tell.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

func (v *verdict) took(d, limit time.Duration) {
	if d > v.Wall {
		v.Wall, v.Most = d, timeFactor*limit
	}
	v.Over = max(v.Over, d-timeFactor*limit)
}

// ended holds an error to the code it must have.
func (v *verdict) ended(name string, want wasmhost.Code, err error) {
	var own *wasmhost.Error
	switch {
	case !errors.As(err, &own):
		v.fail("%s: error %v, want the code %s", name, err, want)
		return
	case own.Code != want:
		v.fail("%s: error %v, want the code %s", name, err, want)
	case unprintable(own.Error()) || len(own.Error()) > 3<<10:
		v.fail("%s: an error of %d bytes: %.100q", name, len(own.Error()), own.Error())
	case unprintable(strings.ReplaceAll(own.Stack, "\n", "")) || len(own.Stack) > 64<<10:
		v.fail("%s: a stack of %d bytes: %.100q", name, len(own.Stack), own.Stack)
	case own.Phase != 0 && own.Module == "":
		v.fail("%s: no module in %v", name, err)
	}
	if !slices.Contains(v.Codes, own.Code) {
		v.Codes = append(v.Codes, own.Code)
	}
}

// unprintable says whether a terminal would do something else with text than
// print it on one line.
func unprintable(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// run loads the module and calls the phase, without what follows a failure.
func (tr *trial) run(t *testing.T, h *wasmhost.Host, r *Rig, l wasmhost.Limits) (wasmhost.Usage, error) {
	m, err := h.Load(t.Context(), tr.wasm, l)
	if err != nil {
		return wasmhost.Usage{}, err
	}
	defer func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if err := m.Check(append(Allowed(), hostileGrants()...)); err != nil {
		return wasmhost.Usage{}, err
	}
	phase := tr.phase
	if phase == 0 {
		phase = abi.Install
	}
	res, err := m.Call(t.Context(), phase, r.grants(m))
	var own *wasmhost.Error
	if errors.As(err, &own) {
		return own.Usage, err
	}
	return res.Usage, err
}

// rig makes the device of a trial: an artifact image, a slot target out, a
// directory target tree to write and one called old to read.
func (tr *trial) rig(t *testing.T) (r *Rig, untouched func(*verdict)) {
	t.Helper()
	s := Setup{
		Facts:     map[string]string{"model": "hostile"},
		Grants:    hostileGrants(),
		Artifacts: map[string]*Blob{"image": Noise(1000, 1)},
		Targets: map[string]Target{
			"out":  {Type: device.Slots, Quota: 1 << 20},
			"tree": {Type: device.Directory, Quota: 1 << 20},
			"old":  {Type: device.Directory, Mode: wasmhost.Read, Entries: map[string]*Blob{"dir/file": Bytes([]byte("old"))}},
		},
	}
	untouched = func(*verdict) {}
	outside := ""
	if tr.real {
		s.FS, s.Dir, outside, untouched = realDisk(t)
	}
	if tr.planted != nil {
		s.Log = func(_ int, line string) {
			if line == "now" {
				tr.planted(t, s.Dir, outside)
			}
		}
	}
	if tr.setup != nil {
		tr.setup(&s)
	}
	r, err := New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r, untouched
}

// hostileGrants are effects, so that no function is out of reach.
func hostileGrants() []abi.Capability {
	return []abi.Capability{"http:example.com", "serial:port", "exec:command", abi.Reboot}
}

const secret = "what is outside of every grant"

// realDisk makes a folder for the device and one beside it, whose content must
// be the same afterwards, as must be what lies beside both.
func realDisk(t *testing.T) (fs disk.FS, dir, outside string, untouched func(*verdict)) {
	t.Helper()
	root := t.TempDir()
	dir, outside = filepath.Join(root, "device"), filepath.Join(root, "outside")
	for _, name := range []string{dir, outside} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	return disk.OS(), dir, outside, func(v *verdict) {
		text, err := os.ReadFile(filepath.Join(outside, "secret"))
		if err != nil || string(text) != secret {
			v.fail("the file outside is %q, %v", text, err)
		}
		for name, want := range map[string]string{outside: "secret", root: "device outside"} {
			if got := listing(t, name); got != want {
				v.fail("%s holds %q, want %q", filepath.Base(name), got, want)
			}
		}
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
