package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

func TestUsage(t *testing.T) {
	m := newMachine(t, "tcp://127.0.0.1:1883")
	for _, tt := range []struct {
		name, args   string
		code         int
		stdout, says string // parts
	}{
		{"help", "--help", 0, "--restart WORD", ""},
		{"help of run", "run -h", 0, "--restart WORD", ""},
		{"help as a word", "help", 0, "Exit codes:", ""},
		{"help of check", "check --help", 0, "updraft-agent check [--config FILE]", ""},
		{"help of status", "status --help", 0, "--follow", ""},
		{"help of version", "version --help", 0, "updraft-agent version", ""},
		{"version", "version", 0, "updraft-agent ", ""},
		{"unknown command", "statsu", 2, "", `unknown command "statsu", did you mean "status"?`},
		{"unknown flag", "--confg x", 2, "", `unknown flag "--confg", did you mean "--config"?`},
		{"unknown word", "--restart exce", 2, "", `invalid value "exce" for flag --restart: unknown value "exce", did you mean "exec"?`},
		{"no value", "status --config", 2, "", "flag needs an argument"},
		{"argument", "check agent.yaml", 2, "", `unexpected argument "agent.yaml": expected flags only`},
		{"no agent file", "--config " + m.dir + "/none", 2, "", "read agent file: open " + m.dir + "/none: no such file"},
		{"no agent file to check", "check --config " + m.dir + "/none", 2, "", "no such file"},
		{"a folder", "check --config " + m.dir, 2, "", "read agent file"},
		{"right", "check --config " + m.config, 0, "", ""},
		{"nobody answers", "status --config " + m.config, 1, "", "no agent answers"},
		{"nobody to follow", "status --follow --config " + m.config, 1, "", "no agent answers"},
		{"exec without a command", "--restart exec --config " + m.config, 2, "", "has no restart command for the device"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.says) ||
				tt.stdout == "" && stdout != "" || tt.says == "" && stderr != "" {
				t.Errorf("code %d, want %d\nstdout %q, want %q\nstderr %q, want %q", code, tt.code, stdout, tt.stdout, stderr, tt.says)
			}
		})
	}
}

// TestAllMistakesAreToldAtOnce holds run, check and status to it.
func TestAllMistakesAreToldAtOnce(t *testing.T) {
	m := newMachine(t, "carrier-pigeon://loft")
	m.file(t, "device.yaml", strings.Replace(slotDevice, "sha256", "sha265", 1))
	m.file(t, "workflow.yaml", strings.Replace(slotWorkflow, "install:", "instal:", 1))
	for _, command := range []string{"run", "check", "status"} {
		code, stdout, stderr := call(t, command, "--config", m.config)
		if code != exitUsage || stdout != "" {
			t.Errorf("%s: code %d, stdout %q", command, code, stdout)
		}
		for _, want := range []string{"agent.yaml:4:", "carrier-pigeon", "device.yaml:4:", `unknown requirement "sha265"`, "workflow.yaml:", `did you mean "install"?`} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q is missing in\n%s", command, want, stderr)
			}
		}
	}
}

func TestItStopsAtASignal(t *testing.T) {
	sim, _ := cloud(t)
	m := newMachine(t, sim.Endpoints().Broker)
	r := start(t, noEnv, "--config", m.config)
	line := r.until("listens to aws; status at " + m.dir + "/.updraft/agent.sock")
	if _, err := time.Parse(time.RFC3339, strings.Fields(line)[0]); err != nil {
		t.Errorf("line %q: %v", line, err)
	}
	if code, _, stderr := call(t, "--config", m.config); code != exitBusy || !strings.Contains(stderr, "locked by") {
		t.Errorf("a second one: code %d, %q", code, stderr)
	}
	r.stop(fmt.Errorf("%w by signal %q", errInterrupted, os.Interrupt))
	r.until(`stopped by signal "interrupt"`)
	if code := r.end(); code != exitDone {
		t.Errorf("code %d", code)
	}
	if _, err := os.Lstat(filepath.Join(m.dir, ".updraft", "agent.sock")); err == nil {
		t.Error("the socket is left")
	}
}

// TestAnUpdateThatNeedsARestart goes the whole way: exit for the restart, and
// confirmation after it.
func TestAnUpdateThatNeedsARestart(t *testing.T) {
	sim, push := cloud(t)
	m := newMachine(t, sim.Endpoints().Broker)
	inUnit := func(name string) (string, bool) { return "1", name == "INVOCATION_ID" }
	r := start(t, inUnit, "--config", m.config)
	if line := r.until("listens to"); !strings.HasPrefix(line, "listens to") {
		t.Errorf("line in a unit: %q, want no time", line)
	}
	push("j-1")
	r.until("restart due")
	if code := r.end(); code != exitWaiting {
		t.Fatalf("code %d, want %d; it said\n%s", code, exitWaiting, r.said())
	}
	r = start(t, noEnv, "run", "--config", m.config, "--restart", "simulate", "--log", "json")
	d, err := sim.Wait(t.Context(), "gw-1", func(d aws.Device) bool { return len(d.Ends) > 0 })
	if err != nil {
		t.Fatal(err)
	}
	r.stop(errInterrupted)
	if code := r.end(); code != exitDone || d.Ends[0].Job != "j-1" || d.Ends[0].Result != "SUCCESS" {
		t.Errorf("code %d, ends %+v", code, d.Ends)
	}
	kinds := map[string]int{}
	for _, text := range r.all {
		var line struct{ Kind, Time string }
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.Time == "" {
			t.Errorf("line %q: %v", text, err)
		}
		kinds[line.Kind]++
	}
	if kinds["run"] == 0 || kinds["restart"] == 0 || kinds["log"] == 0 {
		t.Errorf("kinds of lines: %v", kinds)
	}
}

func TestStatusAsksTheSocket(t *testing.T) {
	sim, push := cloud(t)
	m := newMachine(t, sim.Endpoints().Broker)
	r := start(t, noEnv, "--config", m.config, "--restart", "simulate")
	r.until("listens to")
	follower := start(t, noEnv, "status", "--follow", "--config", m.config)
	push("j-1")
	if _, err := sim.Wait(t.Context(), "gw-1", func(d aws.Device) bool { return len(d.Ends) > 0 }); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := call(t, "status", "--config", m.config)
	if code != exitDone || !strings.HasPrefix(stdout, "succeeded ") || !strings.Contains(stdout, "\naws: connected for ") {
		t.Errorf("status: code %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, _ = call(t, "status", "--json", "--config", m.config)
	var s agent.Status
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitDone || !s.Planes["aws"].Ready || s.Run.State != "succeeded" {
		t.Errorf("status --json: code %d, %q, %v", code, stdout, err)
	}
	r.stop(errInterrupted)
	if code := r.end(); code != exitDone {
		t.Errorf("code %d", code)
	}
	if code := follower.end(); code != exitDone {
		t.Errorf("follow ended with %d: %q", code, follower.all)
	}
}

func TestStatusIsForPeople(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var s agent.Status
	if err := json.Unmarshal([]byte(`{"kind":"status","time":"2026-05-01T12:00:00Z","waiting":2,
		"run":{"run":"r","state":"running","step":"write","done":1500000,"total":3000000,"updated":"2026-05-01T11:59:58Z"},
		"planes":{"b":{"connected":true,"since":"2026-05-01T11:00:00Z"},
		"a":{"since":"2026-05-01T11:59:00Z","attempts":3,"waiting":1,"reports":2,"error":"no route"}}}`), &s); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"running r, step write, 1.4 MiB of 2.9 MiB (2s ago)",
		"commands that wait: 2",
		"a: not connected for 1m0s, failed attempts: 3, messages to send: 1, reports to deliver: 2; last error: no route",
		"b: connected, but not ready for commands for 1h0m0s",
	}
	if got := statusLines(s); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("status:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := statusLines(agent.Status{Time: now}); len(got) != 1 || got[0] != "no update yet" {
		t.Errorf("status of nothing: %q", got)
	}
}

func TestTheServiceManagerHearsOfIt(t *testing.T) {
	sim, _ := cloud(t)
	m := newMachine(t, sim.Endpoints().Broker)
	path := filepath.Join(m.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "60000000")
	r := start(t, noEnv, "--config", m.config)
	go func() { // what it says is of no interest here
		for range r.lines {
		}
	}()
	until := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("wait for %q: %v", want, err)
			}
			if string(buf[:n]) == want {
				return
			}
		}
	}
	until("READY=1\nSTATUS=listens to aws")
	until("WATCHDOG=1")
	r.stop(errInterrupted)
	until("STOPPING=1\nSTATUS=stops at a safe point")
	if code := <-r.ended; code != exitDone {
		t.Errorf("code %d", code)
	}
}
