package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

var (
	manifestOnly = []string{"release.json", "release.json.minisig"}
	moduleRole   = "{module: ../ab-slot.wasm,"
)

// TestRefused holds exit 3: nothing was changed, and what must not be asked for
// was not.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, kind string
		edits      []string
		wasm       []byte // written as bad.wasm
		code, text string
		asked      []string // files that the server was asked for
	}{
		{"the compat module does not want the device", "small-5", []string{"model: gw-200", "model: gw-100"}, nil,
			"incompatible", "model gw-100 is not one of gw-200", nil},
		{"signed with another key", "small-other", nil, nil, "untrusted", "key", manifestOnly},
		{"not signed", "small-unsigned", nil, nil, "untrusted", "signature", manifestOnly},
		{"the module's target is not granted by the device", "small-5", []string{"grants: [rootfs]", "grants: []"}, nil,
			"denied", `"rootfs"`, nil},
		{"the module imports what updraft does not have", "small-5", []string{moduleRole, "{module: bad.wasm,"},
			handMade(t, "tgt_format", abi.Capabilities()), "denied", "tgt_format", nil},
		{"the module imports what it does not declare", "small-5", []string{moduleRole, "{module: bad.wasm,"},
			handMade(t, "tgt_sync", []abi.Capability{abi.Artifact}), "denied", "tgt_sync", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newStand(t, tt.kind, tt.edits...)
			if tt.wasm != nil {
				b.write(t, "bad.wasm", string(tt.wasm))
			}
			before := b.look(t)
			b.run(t, "x").wants(t, 3, "refused", tt.code, tt.text)
			b.untouched(t, before)
			b.reported(t, "x", "refused")
			b.updraft(t, "status", "--device", "device.yaml").says(t, 0, "refused x", tt.code)
			if got := b.front.asked(); !slices.Equal(got, tt.asked) {
				t.Errorf("the server was asked for %q, want %q", got, tt.asked)
			}
			b.run(t, "x").wants(t, 3, "refused", tt.code) // the same run, the same answer
		})
	}
	t.Run("below the floor of the proven version", func(t *testing.T) {
		b := newStand(t, "small-5")
		b.run(t, "x").wants(t, 0, "succeeded", "")
		b.kind = "small-4"
		before, asked := b.look(t), len(b.front.asked())
		b.run(t, "y").wants(t, 3, "refused", "downgrade", "4", "5")
		b.untouched(t, before)
		b.reported(t, "y", "refused")
		if got := b.front.asked()[asked:]; !slices.Equal(got, manifestOnly) {
			t.Errorf("the server was asked for %q, want %q", got, manifestOnly)
		}
		if at := b.boot(t); at.Active != "b" || at.Next != "" {
			t.Errorf("boot state %+v, want b active and nothing next", at)
		}
	})
}

// untouched holds slots and boot state to what they were.
func (b *stand) untouched(t *testing.T, before map[string]string) {
	t.Helper()
	after := b.look(t)
	for _, name := range []string{"slot-a.img", "slot-b.img", "boot.json"} {
		if after[name] != before[name] {
			t.Errorf("%s has SHA-256 %q, before it was %q", name, after[name], before[name])
		}
	}
}

// handMade is an install module that imports one function of updraft and does
// nothing in any phase.
func handMade(t *testing.T, function string, declared []abi.Capability) []byte {
	t.Helper()
	sized := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	text := func(s string) []byte { return sized([]byte(s)) }
	section := func(id byte, parts ...[]byte) []byte { return append([]byte{id}, sized(slices.Concat(parts...))...) }
	wasm := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, []byte{2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 0, 0}),             // (i32) -> i32 and () -> ()
		section(2, []byte{1}, text(abi.Module), text(function), []byte{0, 0}), // the import, of the first type
		section(3, []byte{2, 0, 1}),                                           // two functions
		section(5, []byte{1, 0, 1}),                                           // one page of memory
		section(7, []byte{3}, text(abi.MemoryExport), []byte{2, 0}, text(abi.PhaseExport), []byte{0, 1}, text("updraft_abi_1_0"), []byte{0, 2}),
		section(10, []byte{2, 4, 0, 0x41, 0, 0x0b, 2, 0, 0x0b}))
	wasm, err := abi.WithManifest(wasm, abi.Manifest{Name: "hand-made", Version: "1.0.0", Kind: abi.KindInstall, ABI: abi.Range{Min: "1.0"},
		Phases: []string{"install", "commit"}, Capabilities: declared, Roles: abi.Roles{Artifacts: []string{"image"}, Targets: []string{"out"}}})
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// reportToFile keeps the end of a run where no server is needed.
func (b *stand) reportToFile(t *testing.T) {
	t.Helper()
	b.edit(t, fmt.Sprintf("{http: %s/report/%s}", b.s.URL, b.name), "{file: reports.ndjson}")
}

// TestRolledBack holds exit 4: the device is as before.
func TestRolledBack(t *testing.T) {
	t.Run("the probe fails", func(t *testing.T) {
		b := newStand(t, "small-5", `within: 1m, probes: [{fact: version, equals: "${{ release.version }}"}]`,
			`within: 2s, every: 200ms, probes: [{fact: version, equals: "9.9.9"}]`)
		o := b.run(t, "x")
		o.wants(t, 4, "rolled_back", "probe", "within 2s", `"5.0.0"`, `"9.9.9"`)
		if n := strings.Count(o.stdout, `"state":"booted"`); n != 1 {
			t.Errorf("the new version was booted %d times, want once", n)
		}
		b.onOld(t)
		b.reported(t, "x", "rolled_back")
		b.updraft(t, "status", "--device", "device.yaml").says(t, 0, "rolled_back x", "probe")
	})
	t.Run("nobody answers", func(t *testing.T) {
		b := newStand(t, "full", "{max: 5, backoff: 100ms}", "{max: 2, backoff: 50ms}")
		b.reportToFile(t)
		before := b.look(t)
		b.s.Close()
		o := b.run(t, "x")
		if e := o.end(t); o.code != 4 || e.State != "rolled_back" || !strings.Contains(e.Message, "refused") {
			t.Errorf("exit %d, %+v; want 4, rolled_back and connection refused", o.code, e)
		}
		if n := strings.Count(o.stdout, `"kind":"retry"`); n != 2 {
			t.Errorf("%d retries, want the 2 of the workflow", n)
		}
		b.untouched(t, before)
		b.onOld(t)
		if got := b.read(t, "reports.ndjson"); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"state":"rolled_back"`) {
			t.Errorf("reports %q, want one line with rolled_back", got)
		}
	})
	t.Run("the server goes half-way and stays away", func(t *testing.T) {
		b := newStand(t, "full", "{max: 5, backoff: 100ms}", "{max: 2, backoff: 50ms}")
		b.reportToFile(t)
		var once sync.Once
		b.front.tamperWith(func(at int64, p []byte) []byte {
			if at >= 5<<20 {
				once.Do(func() { _ = b.s.Listener.Close() })
				panic(http.ErrAbortHandler)
			}
			return p
		})
		o := b.run(t, "x")
		if e := o.end(t); o.code != 4 || e.State != "rolled_back" || e.Step != "image" {
			t.Errorf("exit %d, %+v; want 4, rolled_back in step image", o.code, e)
		}
		b.onOld(t)
	})
	t.Run("the body is not what was signed", func(t *testing.T) {
		b := newStand(t, "full")
		b.front.tamperWith(func(at int64, p []byte) []byte {
			if flip := int64(5<<20) - at; flip >= 0 && flip < int64(len(p)) {
				p[flip] ^= 1
			}
			return p
		})
		b.run(t, "x").wants(t, 4, "rolled_back", "digest", digest(t, filepath.Join(b.k.dir, "new")))
		b.onOld(t)
		b.reported(t, "x", "rolled_back")
		if got := b.front.asked(); len(got) > 10 {
			t.Errorf("the server was asked %d times: %q", len(got), got)
		}
	})
	t.Run("no room for the state", func(t *testing.T) {
		b := newStand(t, "small-5")
		state := filepath.Join(b.dir, "state")
		mount(t, state, "-t", "tmpfs", "-o", "size=64k", "updraft-test")
		before := b.look(t)
		o := b.run(t, "x", "--state", state)
		o.says(t, 4)
		said := regexp.MustCompile(`(\S+): (\d+) bytes needed, (\d+) free`).FindStringSubmatch(o.stderr)
		if said == nil || said[1] != filepath.Join(state, "journal") {
			t.Fatalf("it says %q, want the path, the bytes needed and those free", o.stderr)
		}
		need, _ := strconv.Atoi(said[2])
		if free, _ := strconv.Atoi(said[3]); need <= free || free > 64<<10 {
			t.Errorf("it says that %d bytes are needed and %d free, want more than is free, and at most 64 KiB of that", need, free)
		}
		if _, err := os.Stat(filepath.Join(state, "journal")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a store was begun in %s: %v", state, err)
		}
		b.untouched(t, before)
		if got := b.front.asked(); len(got) > 0 {
			t.Errorf("the server was asked for %q, want nothing", got)
		}
	})
	for _, how := range []string{"by a module", "without a module"} {
		t.Run("no room for the image, "+how, func(t *testing.T) {
			b := newStand(t, "full", "b: slot-b.img", "b: small/slot-b.img")
			if how == "without a module" {
				b.native(t)
			}
			mount(t, filepath.Join(b.dir, "small"), "-t", "tmpfs", "-o", "size=4m", "updraft-test")
			b.write(t, "small/slot-b.img", "")
			b.run(t, "x").wants(t, 4, "rolled_back", "no_space", "no space")
			b.onOld(t)
			b.reported(t, "x", "rolled_back")
		})
	}
}

// twentyMistakes are as many different ones.
const twentyMistakes = `apiVersion: updraft/v2
kind: Workflow
name: bad
inputs: {release: {type: text}}
compat:
  - {modul: ../model-check.wasm}
steps:
  - id: Image
    fetch: {manifest: "${{ inputs.relaese }}", artifact: image}
    timeout: 0s
  - id: checked
    verfy: {artifact: image}
  - verify: {artifact: nowhere}
  - id: write
    install: {module: gone.wasm, artifacts: {image: checked}, targets: {out: {target: rotfs@inactive, quota: much}}}
  - id: write
    install: {artifacts: {image: checked}, targets: {out: {target: rootfs@active}}}
    when: facts.model
  - id: one
    needs: [two]
    report: {text: "${{ facts.site }}"}
  - id: two
    needs: [one]
    confirm: {restart: device, probes: [{fact: version, equals: "${{ now() }}"}, {fact: version, fiel: x}]}
extra: 1
`

const whereTwenty = `1:13 E013
4:26 E012
6:6 E009
8:9 E017
9:35 E023
10:14 E012
12:5 E014
13:5 E010
13:24 E019
15:23 E029
15:87 E022
15:110 E011
16:9 E018
17:68 E022
18:11 E027
20:13 E021
21:31 E024
24:70 E026
24:98 E009
25:1 E009`

const badDevice = `apiVersion: updraft/v1
kind: Device
facts: {model: gw-200, version: {target: rotfs}}
targets:
  rootfs: {slots: {a: slot-a.img, b: slot-a.img}, boot: {file: boot.json}, activ: a}
  none: {}
restart: {app: {exec: [./restart]}}
trust: {require: maybe, keys: [../rel.pub]}
modules: {memory: lots, grants: [app]}
`

const whereDevice = `3:42 E022
5:38 E030
5:76 E009
6:3 E030
7:11 E012
8:18 E012
9:19 E011
9:34 E022`

// TestUsage holds exit 2: everything that is wrong at once, and nothing done.
func TestUsage(t *testing.T) {
	place := regexp.MustCompile(`(?m)^(\w+\.yaml):(\d+:\d+): (E\d{3}) \S`)
	caret := regexp.MustCompile(`(?m)^ *\^~*$`)
	for _, tt := range []struct {
		name, file, text string
		where            string // line, column and code of each
	}{
		{"twenty mistakes in a workflow", "update.yaml", twentyMistakes, whereTwenty},
		{"a device file", "device.yaml", badDevice, whereDevice},
		{"a mistake in an expression is told once", "update.yaml", `apiVersion: updraft/v1
kind: Workflow
name: bad
steps:
  - {id: image, fetch: {manifest: "${{ facts.modle }}", artifact: image, base: rootfs@active}}
`, "5:46 E024"},
		{"a base that the device does not have", "update.yaml", `apiVersion: updraft/v1
kind: Workflow
name: bad
steps:
  - {id: image, fetch: {manifest: release.json, artifact: image, base: rotfs@active}}
`, "5:72 E022"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newStand(t, "small-5")
			before := b.look(t)
			b.write(t, tt.file, tt.text)
			o := b.run(t, "x")
			o.says(t, 2)
			var where []string
			for _, m := range place.FindAllStringSubmatch(o.stderr, -1) {
				if where = append(where, m[2]+" "+m[3]); m[1] != tt.file {
					t.Errorf("a mistake in %s, want it in %s", m[1], tt.file)
				}
			}
			if got := strings.Join(where, "\n"); got != tt.where {
				t.Errorf("%d mistakes at\n%s\nwant %d at\n%s\n%s", len(where), got, strings.Count(tt.where, "\n")+1, tt.where, o.stderr)
			}
			if carets := len(caret.FindAllString(o.stderr, -1)); carets != len(where) {
				t.Errorf("%d lines with a caret for %d mistakes", carets, len(where))
			}
			check := b.updraft(t, "check", "device.yaml", "update.yaml")
			if check.says(t, 2); len(place.FindAllString(check.stderr, -1)) < len(where) {
				t.Errorf("check finds less than run:\n%s", check.stderr)
			}
			b.untouched(t, before)
			if got := b.front.asked(); len(got) > 0 {
				t.Errorf("the server was asked for %q, want nothing", got)
			}
		})
	}
	b := newStand(t, "small-5")
	for _, tt := range []struct {
		name string
		args []string
		text string
	}{
		{"an unknown flag", []string{"run", "update.yaml", "--devcie", "device.yaml"}, `unknown flag "--devcie", did you mean "--device"?`},
		{"no device", []string{"run", "update.yaml", "--input", b.release()}, "--device"},
		{"no input", []string{"run", "update.yaml", "--device", "device.yaml"}, "release"},
		{"an unknown input", []string{"run", "update.yaml", "--device", "device.yaml", "--input", b.release(), "--input", "relaese=x"}, "relaese"},
		{"no such workflow", []string{"run", "gone.yaml", "--device", "device.yaml"}, "gone.yaml"},
		{"no such device", []string{"run", "update.yaml", "--device", "gone.yaml"}, "gone.yaml"},
		{"a bad id", []string{"run", "update.yaml", "--device", "device.yaml", "--id", "a/b", "--input", b.release()}, `"a/b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.updraft(t, tt.args...).says(t, 2, tt.text)
			b.updraft(t, "status", "--device", "device.yaml").says(t, 0, "no run yet")
		})
	}
}

// TestWaits holds exit 6, and 7 for another run while the first one waits.
func TestWaits(t *testing.T) {
	b := newStand(t, "small-5")
	b.run(t, "x", "--restart", "exit").wants(t, 6, "waiting", "restart")
	chosen := b.boot(t)
	if chosen.Active != "a" || chosen.Next != "b" || chosen.Tries < 1 || chosen.Nonce != "x" {
		t.Fatalf("boot state %+v, want b to be tried next for run x", chosen)
	}
	still := func(t *testing.T) {
		t.Helper()
		if at := b.boot(t); at.Next != "b" || at.Tries != chosen.Tries || at.Active != "a" {
			t.Errorf("boot state %+v, before it was %+v", at, chosen)
		}
	}
	t.Run("status says so", func(t *testing.T) {
		b.updraft(t, "status", "--device", "device.yaml").says(t, 0, "waiting x", "restart")
	})
	t.Run("resume before the restart", func(t *testing.T) {
		b.updraft(t, "resume", "--device", "device.yaml", "--restart", "exit", "--progress", "json").wants(t, 6, "waiting", "restart")
		still(t)
	})
	t.Run("the same run before the restart", func(t *testing.T) {
		b.run(t, "x", "--restart", "exit").wants(t, 6, "waiting", "restart")
		still(t)
	})
	t.Run("another run is busy", func(t *testing.T) {
		b.run(t, "y").says(t, 7, "run x is unfinished")
		still(t)
	})
	t.Run("resume after the restart", func(t *testing.T) {
		b.updraft(t, "resume", "--device", "device.yaml", "--restart", "simulate", "--progress", "json").wants(t, 0, "succeeded", "")
		if at := b.boot(t); at.Active != "b" || at.Next != "" || !slices.Contains(at.Good, "b") {
			t.Errorf("boot state %+v, want b active and good", at)
		}
		b.reported(t, "x", "succeeded")
		b.updraft(t, "resume", "--device", "device.yaml").says(t, 0, "no unfinished run")
	})
}

// TestOneAtATime holds exits 7 and 130: of two processes the second ends at
// once, and a run that is cancelled while it downloads is undone.
func TestOneAtATime(t *testing.T) {
	b := newStand(t, "full")
	b.s.mu.Lock()
	b.s.rate[b.name] = int64(len(b.k.new)) / 60 // longer than the test may take
	b.s.mu.Unlock()
	var once sync.Once
	flowing, trial := make(chan struct{}), false
	cmd, wait, err := b.start(func(e event) {
		if e.Kind == "progress" {
			once.Do(func() { close(flowing) })
		}
		trial = trial || e.Kind == "restart"
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	select {
	case <-flowing:
	case err := <-ended:
		t.Fatalf("it ended before a byte came: %v", err)
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Fatalf("no byte in a minute: %v", <-ended)
	}
	for _, args := range [][]string{
		{"run", "update.yaml", "--device", "device.yaml", "--id", "y", "--input", b.release()},
		{"run", "update.yaml", "--device", "device.yaml", "--id", "x", "--input", b.release()},
		{"resume", "--device", "device.yaml"},
	} {
		t.Run("a second process: "+strings.Join(args[:1], " "), func(t *testing.T) {
			o := b.updraft(t, args...)
			o.says(t, 7, fmt.Sprintf("process %d,", cmd.Process.Pid))
			if o.took > 10*time.Second {
				t.Errorf("it took %v, want it at once", o.took)
			}
		})
	}
	t.Run("status says how far it is", func(t *testing.T) {
		b.updraft(t, "status", "--device", "device.yaml").says(t, 0, "running x, step ")
	})
	t.Run("cancel", func(t *testing.T) {
		b.updraft(t, "cancel", "--device", "device.yaml").says(t, 0, "run x", "safe point")
		began := time.Now()
		err := <-ended
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 130 {
			t.Errorf("the run ended with %v, want exit code 130", err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it took %v to turn back", took)
		}
		if trial {
			t.Error("slot b was chosen")
		}
		b.onOld(t)
		if at := b.boot(t); at.Nonce != "" {
			t.Errorf("boot state %+v, but no run has chosen", at)
		}
		b.reported(t, "x", "cancelled")
		b.updraft(t, "status", "--device", "device.yaml").says(t, 0, "cancelled x")
		b.run(t, "x").wants(t, 130, "cancelled", "cancelled")
	})
}
