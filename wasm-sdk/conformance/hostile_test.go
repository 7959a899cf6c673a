package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// hostile is a case: what a module may try against its host, in one or more ways.
type hostile struct {
	name   string
	ends   []wasmhost.Code // every one of them, and no other
	trials func() []trial
	// play takes the place of trials where it is the situation that is hostile.
	play func(t *testing.T, h *wasmhost.Host, v *verdict)
}

// trial is one module and how it must end.
type trial struct {
	name   string
	wasm   []byte
	phase  abi.Phase       // Install if 0
	limits wasmhost.Limits // of memory, of fuel and of the wall; zero fields are those below
	want   wasmhost.Code
	// compiles says that the module is accepted and costs what compiling one may
	// cost, which is more than what running it may.
	compiles bool
	real     bool // on a real disk, beside a folder that must not be touched
	setup    func(*Setup)
	// planted, if set, hears the line "now" of the module's log with the device's
	// folder and the one that must not be touched.
	planted func(t *testing.T, device, outside string)
}

// What a trial may take if it says nothing else. The ceilings are what the
// whole process may take on top: it holds the test itself, the Go runtime and
// the compiler too.
const (
	hostileMemory = 16 << 20
	hostileFuel   = 1_000_000
	hostileWall   = 2 * time.Second
	clockWall     = time.Second // of trials that end by the clock
	memoryMore    = 64 << 20
	timeFactor    = 2
	compileMemory = 512 << 20
	compileWall   = 30 * time.Second
	casesAtOnce   = 2
)

// verdict is how a case ended. Figures are the most of any trial, but for the
// fuel, which is that of all together.
type verdict struct {
	Codes    []wasmhost.Code // in the order of the trials, each once
	Trials   int
	Fuel     int64
	Counted  bool          // no trial ended by the clock, so that the fuel is always the same
	Wall     time.Duration // of loading and calling one module
	Most     time.Duration // that any may take
	Over     time.Duration // Wall beyond Most, 0 if none is
	Limit    int64         // of linear memory, or of compiling
	Peak     int64         // resident bytes of the process, 0 if the machine does not tell
	Failures []string
}

func (v *verdict) fail(format string, args ...any) {
	v.Failures = append(v.Failures, fmt.Sprintf(format, args...))
}

const playing = "UPDRAFT_HOSTILE" // environment variable: number and engine of the case to play

// TestHostile plays each case in a process of its own, compiled and
// interpreted, and prints a line for each: how it ended, and what it took.
func TestHostile(t *testing.T) {
	turn := make(chan struct{}, casesAtOnce)
	engines := hostileEngines(t)
	for i, c := range hostileCases() {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			t.Parallel()
			var all []verdict
			for _, engine := range engines {
				v := playApart(t, turn, i, engine)
				v.judge(t, &c, engine)
				t.Logf("%2d %s, %s: %s", i+1, c.name, engine, v)
				all = append(all, v)
			}
			for _, v := range all {
				if v.Counted && v.Fuel != all[0].Fuel {
					t.Errorf("%d fuel with one engine, %d with the other", all[0].Fuel, v.Fuel)
				}
			}
		})
	}
}

// hostileEngines are those that run on this machine.
func hostileEngines(t *testing.T) []wasmhost.Engine {
	t.Helper()
	if _, err := wasmhost.New(t.Context(), wasmhost.Config{Engine: wasmhost.Compiler}); err != nil {
		t.Logf("interpreted only: %v", err)
		return []wasmhost.Engine{wasmhost.Interpreter}
	}
	return []wasmhost.Engine{wasmhost.Compiler, wasmhost.Interpreter}
}

// playApart runs one case in a process of its own, when it is its turn.
func playApart(t *testing.T, turn chan struct{}, i int, engine wasmhost.Engine) (v verdict) {
	t.Helper()
	turn <- struct{}{}
	defer func() { <-turn }()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestPlaysHostileCase$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", playing, i, engine))
	out, err := cmd.CombinedOutput()
	_, line, found := bytes.Cut(out, []byte("verdict "))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	if err != nil || !found {
		t.Fatalf("the process did not live to its end: %v\n%s", err, out)
	}
	if err := json.Unmarshal(line, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// judge holds a verdict to what its case must end in and may take.
func (v *verdict) judge(t *testing.T, c *hostile, engine wasmhost.Engine) {
	t.Helper()
	for _, f := range v.Failures {
		t.Errorf("%s: %s", engine, f)
	}
	if got, want := slices.Sorted(slices.Values(v.Codes)), slices.Sorted(slices.Values(c.ends)); !slices.Equal(got, want) {
		t.Errorf("%s: ended in %q, want %q", engine, got, want)
	}
	if most := v.Limit + memoryMore; v.Peak > most {
		t.Errorf("%s: the process took %d bytes, want at most %d", engine, v.Peak, most)
	}
	if v.Over > 0 {
		t.Errorf("%s: a trial took %v more than twice its limit", engine, v.Over)
	}
}

// String is the figures of the line.
func (v verdict) String() string {
	fuel := fmt.Sprintf("%d fuel", v.Fuel)
	if !v.Counted {
		fuel += " this time"
	}
	codes := "no error"
	if len(v.Codes) > 0 {
		codes = strings.Trim(fmt.Sprint(v.Codes), "[]")
	}
	peak := "peak not known here"
	if v.Peak > 0 {
		peak = fmt.Sprintf("peak %.1f of %d MiB", float64(v.Peak)/(1<<20), (v.Limit+memoryMore)>>20)
	}
	return fmt.Sprintf("%s, %d tried, %s, %v of %v, %s", codes, v.Trials, fuel,
		v.Wall.Round(time.Millisecond), v.Most, peak)
}
