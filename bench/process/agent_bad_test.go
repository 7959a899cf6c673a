package process

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// secret stands in passwords and in the queries of URLs. No log may hold it.
const secret = "k4n4ry-s3cr3t"

// TestAgentBadInput has a broker send the agent what no device should act on.
// Each is refused with one line without secrets, nothing starts, the connection
// stays, and a right command still gets through.
func TestAgentBadInput(t *testing.T) {
	f := newSwarm(t, 64)
	files := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(f.dir, "files"))))
	t.Cleanup(files.Close)
	b := newPlainBroker(t)
	t.Setenv("PLANE_PASSWORD", secret)
	u := f.unit(t, "gw-1", "tcp://"+b.at, "    user: gw-1", "    secrets: {password: {env: PLANE_PASSWORD}}")
	// While the largest message passes by there is no answer to a ping.
	u.edit(t, "agent.yaml", "keepAlive: 2s", "keepAlive: 1m")
	p, err := u.agent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	s := b.next(t)
	if !strings.Contains(string(s.connect), secret) {
		t.Errorf("the password is not in CONNECT: %q", s.connect)
	}
	s.wait(t, `"hello"`)
	p.says(t, "connected as", 1)
	p.says(t, "listens to", 1)
	const delta = "state/gw-1/update/delta"
	good := fmt.Sprintf(`{"state": {"softwareURL": "%s/2.0.0/release.json?sig=%s", "jobID": "j-1"}, "version": 9}`, files.URL, secret)
	id := uint16(1)
	for _, tt := range []struct {
		name           string
		retain         byte
		topic, payload string
		want           string
	}{
		{"a number for a URL", 0, delta, `{"state": {"softwareURL": 5, "jobID": "` + secret + `"}, "version": 9}`, "softwareURL is a number, want text"},
		{"a list for a state", 0, delta, `{"state": ["` + secret + `"]}`, "state is a list, want an object"},
		{"a wildcard in a job", 0, delta, `{"state": {"softwareURL": "https://h/f?` + secret + `", "jobID": "j/#"}}`, "jobID holds '/'"},
		{"a password in a URL", 0, delta, `{"state": {"softwareURL": "https://gw-1:` + secret + `@h/f", "jobID": "j-1"}}`, "user name or password"},
		{"another device's command", 0, "state/gw-2/update/delta", good, "not a topic of device gw-1"},
		{"a retained command", 1, delta, good, "retained"},
		{"a topic with a wildcard", 0, "state/+/update/delta", good, "no message can have this topic"},
		{"300 KiB", 0, delta, good + strings.Repeat(" ", 300<<10), "at most 262144 are taken"},
		{"256 MiB", 0, delta, strings.Repeat("x", 1<<28-1-2-len(delta)-2), "at most 262144 are taken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := strings.Count(p.text(), "\n")
			s.publish(t, tt.retain, id, tt.topic, tt.payload)
			s.wait(t, fmt.Sprintf("PUBACK %d.", id))
			id++
			p.until(t, tt.want, func(have string) bool { return strings.Count(have, "\n") > before })
			lines := strings.Split(p.text(), "\n")[before:]
			if len(lines) != 2 || !strings.Contains(lines[0], tt.want) || len(lines[0]) > 400 {
				t.Errorf("it says %q, want one line with %q", lines, tt.want)
			}
		})
	}
	s.publish(t, 0, id, delta, good)
	s.wait(t, `"result":"SUCCESS"`) // on the first connection
	if err := u.holds(f.images["2.0.0"]); err != nil {
		t.Error(err)
	}
	s.publish(t, 0, id+1, delta, strings.NewReplacer("2.0.0", "none", "j-1", "j-2", "9}", "10}").Replace(good))
	s.accept(t, `"result":"SUCCESS"`)
	s.wait(t, `"result":"FAILURE"`)
	p.says(t, "rolled_back", 1)
	if peak := peakMemory(t, p); peak > 64<<20 {
		t.Errorf("its memory had %d MiB at most, want less than 64", peak>>20)
	}
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it stops with %d, want 0", code)
	}
	if text := p.text(); strings.Contains(text, secret) || strings.Count(text, "connected as") != 1 || strings.Count(text, " accepted") != 2 {
		t.Errorf("want one connection, two runs and no secret in\n%s", text)
	}
	if n := b.count.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	events, err := os.ReadFile(filepath.Join(u.dir, ".updraft", "events.ndjson"))
	if err != nil || bytes.Contains(events, []byte(secret)) {
		t.Errorf("events.ndjson: %v, or a secret in it", err)
	}
}

// peakMemory is the greatest resident memory of a process until now, in bytes.
func peakMemory(t *testing.T, p *process) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("/proc/PID/status: %v, no VmHWM", err)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB of memory at most", n>>10)
	return n << 10
}

// TestAgentStops stops the agent in the middle of a download, with both
// signals, and starts it again: the download goes on.
func TestAgentStops(t *testing.T) {
	const size = 6 << 20
	f := newSwarm(t, size)
	if err := f.start(cloudsim.Fault{Kind: cloudsim.FaultSlow, Rate: 2 << 20}); err != nil {
		t.Fatal(err)
	}
	u := f.unit(t, "gw-1", f.broker(t))
	if err := u.desire(t.Context(), u.name, "j-1", "2.0.0"); err != nil {
		t.Fatal(err)
	}
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p, err := u.agent()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		p.says(t, []string{"accepted", "resumed"}[i], 1)
		p.until(t, "some %", regexp.MustCompile(`write: +[1-9]\d? %`).MatchString)
		code, took := p.stop(t, signal)
		t.Logf("%v: exit code %d after %v", signal, code, took.Round(time.Millisecond))
		if code != 0 || took > 2*time.Second || strings.Contains(p.text(), "100 %") {
			t.Errorf("%v in mid-download: exit code %d after %v, want 0 within 2s\n%s", signal, code, took, p.text())
		}
	}
	p, err := u.agent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.says(t, "succeeded", 1)
	if err := u.holds(f.images["2.0.0"]); err != nil {
		t.Error(err)
	}
	p.says(t, "report delivered", 1)
	st, err := f.cloud().State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, limit := st.Served["2.0.0/image"].Bytes, int64(size+2*(3<<19)); got > limit || got < size {
		t.Errorf("%d bytes were served of %d, want at most %d", got, size, limit)
	}
	if ends := st.Devices["gw-1"].Ends; len(ends) != 1 || ends[0].Result != "SUCCESS" {
		t.Errorf("ends %+v, want one SUCCESS", ends)
	}
}

// TestAgentFileMistakes gives an agent file with a mistake in each corner.
func TestAgentFileMistakes(t *testing.T) {
	f := newSwarm(t, 64)
	u := f.unit(t, "gw-1", "tcp://127.0.0.1:1")
	u.write(t, "agent.yaml", `apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes:
  cloud:
    dialect: awsiott
    url: http://broker.example
    id: gw-1
    keepAlive: 100ms
    user: gw-1
    secrets: {password: `+secret+`}
  shop: {dialect: awsiot, url: "tls://shop.example", id: gw/1, settings: {progres: 10s}}
commands:
  cloud: {workflow: update.yaml, whenBusy: perhaps}
  shop: {workflow: missing.yaml}
`, 0o600)
	u.write(t, "device.yaml", "apiVersion: updraft/v1\nkind: Device\ntargets: {rootfs: {slots: {a: a.img}}}\ntrust: {require: hope}\n", 0o600)
	for _, command := range [][]string{{"--config", "agent.yaml"}, {"check", "--config", "agent.yaml"}} {
		p := begin(t, u.dir, "updraft-agent", command...)
		code := p.code(t)
		text := p.text()
		for _, want := range []string{
			"agent.yaml:6:", "awsiot", "agent.yaml:7:", "agent.yaml:9:", "agent.yaml:11:", "agent.yaml:12:", "progress",
			"agent.yaml:14:", "perhaps", "missing.yaml", "device.yaml:3:", "device.yaml:4:",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q: no %q in\n%s", command, want, text)
			}
		}
		if code != 2 || strings.Contains(text, secret) {
			t.Errorf("%q: exit code %d, want 2 and no secret in\n%s", command, code, text)
		}
	}
	if _, err := os.Stat(filepath.Join(u.dir, ".updraft")); err == nil {
		t.Error("a state directory was made")
	}
}
