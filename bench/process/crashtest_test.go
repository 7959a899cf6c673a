package process

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var crashWhole = flag.Bool("crash-whole", false, "every point of TestCrashTest and not some of them")

// crashLimit is what a whole sweep of a device with a 10 MB image may take.
const crashLimit = 3 * time.Minute

const twoLanes = `apiVersion: updraft/v1
kind: Workflow
name: both
inputs: {release: {type: string}}
compat:
  - {module: ../model-check.wasm, with: {models: [gw-200]}}
steps:
  - id: image
    fetch: {manifest: "${{ inputs.release }}", artifact: image}
  - id: checked
    verify: {artifact: image}
  - id: write
    lane: system
    install: {module: ../ab-slot.wasm, artifacts: {image: checked}, targets: {out: {target: rootfs@inactive, quota: 64MiB}}}
  - id: tool
    needs: []
    fetch: {manifest: "${{ inputs.release }}", artifact: tool}
  - id: unpack
    lane: program
    install: {artifacts: {tool: tool}, targets: {out: {target: app}}, entry: bin/tool}
  - id: prove
    needs: [write, unpack]
    confirm: {restart: device, within: 1m, probes: [{fact: version, equals: "${{ release.version }}"}]}
`

// crashes is what crash-test --json prints.
type crashes struct {
	Journal           string
	Points, Cut, Runs int
	Ends              map[string]int
	Reference         struct{ State, Code, Message string }
	Violations        []struct {
		Point         int
		At, Cut, What string
	}
	Seconds float64
}

// failing gives the program's lane a step that never agrees with its bytes.
func failing(workflow string) string {
	other := "  - id: other\n    verify: {artifact: tool, sha256: " + strings.Repeat("0", 64) + "}\n  - id: unpack"
	return strings.NewReplacer("  - id: unpack", other, "artifacts: {tool: tool}", "artifacts: {tool: other}").Replace(workflow)
}

// TestCrashTest cuts the power of whole devices by the program's own command.
// Every run must end as the one without a cut.
func TestCrashTest(t *testing.T) {
	for _, tt := range []struct {
		name, kind, workflow string // "": the rig's
		every                int    // of the short form, 0: not in it
		ends, code           string
	}{
		{"10 MB by a module", "full", "", 0, "succeeded", ""},
		{"10 MB by a module, from a delta", "delta", "", 60, "succeeded", ""},
		{"two lanes on two targets", "both", twoLanes, 40, "succeeded", ""},
		{"two lanes, one fails", "both", failing(twoLanes), 40, "rolled_back", "digest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.every == 0 && !*crashWhole {
				t.Skip("only with -crash-whole")
			}
			b := newStand(t, tt.kind)
			if tt.workflow != "" {
				b.edit(t, "boot: {file: boot.json}}", "boot: {file: boot.json}}\n  app: {directory: app}")
				b.write(t, "update.yaml", tt.workflow)
				b.both(t)
			}
			before := b.tree(t)
			c := b.crashTest(t, tt.every)
			b.same(t, before)
			if c.Reference.State != tt.ends || c.Reference.Code != tt.code {
				t.Errorf("without a cut it ended %s (%s), want %s (%s): %s", c.Reference.State, c.Reference.Code, tt.ends, tt.code, c.Reference.Message)
			}
			if len(c.Ends) != 1 || c.Ends[tt.ends] != c.Runs {
				t.Errorf("of %d runs %v, want all %s", c.Runs, c.Ends, tt.ends)
			}
		})
	}
}

// both makes a release of an image and a program, once.
func (b *stand) both(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(b.k.dir, "both")); err == nil {
		return
	}
	b.k.command(t, b.k.dir, b.k.updraft, "release", "new", "--name", "gw", "--version", "2.0.0", "--artifact", "image=small", "--artifact", "tool=small", "--out", "both")
	b.k.command(t, b.k.dir, b.k.updraft, "release", "sign", "both", "--key", "rel.key")
}

func (b *stand) crashTest(t *testing.T, every int) crashes {
	t.Helper()
	args := []string{"crash-test", "update.yaml", "--device", "device.yaml", "--input", b.release(), "--json"}
	if !*crashWhole {
		args = append(args, "--every", strconv.Itoa(every))
	}
	o := b.updraft(t, args...)
	o.says(t, 0)
	var c crashes
	if err := json.Unmarshal([]byte(o.stdout), &c); err != nil {
		t.Fatalf("crash-test --json: %v\n%s%s", err, o.stdout, o.stderr)
	}
	t.Logf("%d points, %d runs in %.1f s, ended %v", c.Points, c.Runs, c.Seconds, c.Ends)
	if c.Journal != "simulated" {
		t.Errorf("the journal is %q, want it to say simulated", c.Journal)
	}
	if c.Points < 40 || c.Cut < 1 || *crashWhole && c.Cut < c.Points/3 || c.Runs != c.Cut*12 { // six cuts, each with and without a second one
		t.Errorf("%d points, cut at %d, %d runs: want at least 40, and 12 runs for each point tried", c.Points, c.Cut, c.Runs)
	}
	for _, v := range c.Violations[:min(len(c.Violations), 5)] {
		t.Errorf("point %d (%s), %s: %s", v.Point, v.At, v.Cut, v.What)
	}
	if *crashWhole && o.took > crashLimit {
		t.Errorf("it took %v, at most %v are allowed", o.took, crashLimit)
	}
	return c
}

// TestCrashTestSays holds what the command prints for people.
func TestCrashTestSays(t *testing.T) {
	b := newStand(t, "small-5")
	b.native(t)
	b.updraft(t, "crash-test", "update.yaml", "--device", "device.yaml", "--input", b.release(), "--every", "20", "--once").
		says(t, 0, " points, ", " runs in ", "the journal is simulated", "0 violations")
}
