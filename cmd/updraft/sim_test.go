package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

func TestSimPlaysTheWholePattern(t *testing.T) {
	dir := t.TempDir()
	state, files, trace := filepath.Join(dir, "state"), filepath.Join(dir, "files"), filepath.Join(dir, "trace.ndjson")
	if err := os.Mkdir(files, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, "v 2.img"), []byte("version two"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSim(t, state, "--files", files, "--trace", trace)
	if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v; want the permissions 0700", info, err)
	}
	d := s.device(t, "gw-1")
	s.stderr.want(t, " gw-1 connected\n")

	// One goes well.
	push := s.sub(t, "push", "--device", "gw-1", "--url", "v 2.img?sig=secret", "--job", "j-1", "--version", "2.0", "--set", "channel=beta", "--set", "n=7", "--wait", "1m")
	got := d.delta("j-1")
	if got["version"] != "2.0" || got["channel"] != "beta" || got["n"] != 7.0 {
		t.Errorf("delta = %v", got)
	}
	body := fetched(t, got["softwareURL"].(string))
	if body != "version two" || !strings.HasSuffix(got["softwareURL"].(string), "/files/v%202.img?sig=secret") {
		t.Errorf("%v holds %q", got["softwareURL"], body)
	}
	d.report("gw-1", "", map[string]any{"progress": map[string]any{"jobID": "j-1", "step": "image", "done": 5 << 20, "total": 10 << 20}})
	push.stderr.want(t, "image:  50 % 5.0 MiB of 10.0 MiB\n")
	got["result"] = "SUCCESS"
	d.report("gw-1", "r-1", got)
	if out, _ := push.end(t, exitSucceeded); !strings.HasPrefix(out, "job j-1 for gw-1: http://127.0.0.1:") || !strings.HasSuffix(out, "/v%202.img (shadow 1)\nSUCCESS of job j-1\n") {
		t.Errorf("push prints %q", out)
	}
	s.stderr.want(t, " gw-1 is to do job j-1: "+s.at.Files+"v%202.img (shadow 1)\n")
	s.stderr.want(t, " gw-1 reports SUCCESS of job j-1\n")

	// One fails, and its report comes twice. The version of the first is gone.
	push = s.sub(t, "push", "--device", "gw-1", "--url", "http://127.0.0.1:1/v3.img", "--job", "j-2", "--wait", "1m", "--json")
	d.delta("j-2")
	failure := map[string]any{"jobID": "j-2", "result": "FAILURE", "error": map[string]any{"code": "probe", "message": "it is not\nhealthy"}}
	d.report("gw-1", "r-2", failure)
	out, _ := push.end(t, exitRolledBack)
	if p := decoded[ordered](t, out); p.Job != "j-2" || p.End == nil || p.End.Result != "FAILURE" || p.End.Code != "probe" || p.End.Report != "r-2" {
		t.Errorf("push prints %s", out)
	}
	d.report("gw-1", "r-2", failure)
	s.stderr.want(t, " gw-1 reports FAILURE of job j-2: probe: it is not; healthy (arrived 2 times)\n")

	// One is tried again without a URL, and the device does not say how it went.
	out, say := s.sub(t, "push", "--device", "gw-1", "--wait", "1ms", "--json").end(t, exitWaiting)
	retry := decoded[ordered](t, out)
	if !strings.HasPrefix(retry.Job, "job-") || retry.URL != "http://127.0.0.1:1/v3.img" || retry.End != nil || !strings.HasSuffix(say, "updraft sim awsiot show --device gw-1 --state "+state+"\n") {
		t.Errorf("push prints %s%s", out, say)
	}
	if got := d.delta(retry.Job); got["version"] != nil || got["softwareURL"] != "http://127.0.0.1:1/v3.img" {
		t.Errorf("delta = %v, want the last URL and no version", got)
	}

	// What it all looks like.
	out, _ = s.sub(t, "fault", "duplicate", "--client", "gw-1", "--every", "2").end(t, exitSucceeded)
	if out != "duplicate --client gw-1 --every 2\n" {
		t.Errorf("fault prints %q", out)
	}
	out, _ = s.sub(t, "show", "--json").end(t, exitSucceeded)
	shown := decoded[simShown](t, out)
	dev := shown.Devices["gw-1"]
	if !dev.Connected || len(dev.Ends) != 2 || dev.Ends[1].Arrivals != 2 || len(shown.Faults) != 1 || shown.Endpoints != s.at || strings.Contains(out, "sig=secret") {
		t.Errorf("show prints %s", out)
	}
	out, _ = s.sub(t, "show", "--device", "gw-1").end(t, exitSucceeded)
	for _, want := range []string{"gw-1: connected since ", "  desired   channel=beta jobID=" + retry.Job + " n=7 softwareURL=http://127.0.0.1:1/v3.img\n",
		" SUCCESS of job j-1\n", " FAILURE of job j-2: probe: it is not; healthy (arrived 2 times)\n", "fault duplicate --client gw-1 --every 2"} {
		if !strings.Contains(out, want) {
			t.Errorf("show does not print %q:\n%s", want, out)
		}
	}
	if out, _ = s.sub(t, "fault", "none", "--json").end(t, exitSucceeded); out != "[]\n" {
		t.Errorf("fault none prints %q, want []", out)
	}

	if err := d.conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.stderr.want(t, " gw-1 gone\n")
	s.stop()
	s.end(t, exitSucceeded)
	noGoroutines(t)
	traced(t, trace, "j-1", "j-2", retry.Job)

	// It comes back where it was, and still knows.
	again := startSim(t, state)
	if again.at != s.at {
		t.Errorf("it listens at %v, want %v as before", again.at, s.at)
	}
	out, _ = again.sub(t, "show").end(t, exitSucceeded)
	if !strings.Contains(out, "gw-1: never connected") || !strings.Contains(out, "SUCCESS of job j-1") {
		t.Errorf("show prints %s", out)
	}
	again.stop()
	again.end(t, exitSucceeded)
	noGoroutines(t)
}

func fetched(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// traced holds a trace to the conversation: for each job a delta.
func traced(t *testing.T, name string, jobs ...string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var deltas, reports int
	for line := range strings.Lines(string(text)) {
		l := decoded[cloudsim.Line](t, line)
		if l.Client != "gw-1" || l.QoS != 1 || l.Time.IsZero() {
			t.Errorf("line %s", line)
		}
		switch {
		case l.Direction == "up" && l.Topic == "state/gw-1/update":
			reports++
		case l.Direction == "down" && deltas < len(jobs) && strings.Contains(l.Payload, `"jobID":"`+jobs[deltas]+`"`):
			deltas++
		}
	}
	if reports != 4 || deltas != len(jobs) || strings.Contains(string(text), "secret") {
		t.Errorf("%d reports, want 4; %d deltas, want %d; and no secret in:\n%s", reports, deltas, len(jobs), text)
	}
}

func TestSimTraceOnStandardOutput(t *testing.T) {
	state := t.TempDir()
	for _, tt := range []struct {
		name  string
		flags []string
		first string // on standard output, before the trace
		say   string
	}{
		{"after the addresses, as JSON", []string{"--json"}, `{"plane":"awsiot","broker":"tcp://127.0.0.1:`, ""},
		{"alone", nil, `{"time":"`, "control  http://127.0.0.1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := begin(t, append([]string{"sim", "awsiot", "--state", state, "--trace", "-"}, tt.flags...)...)
			if tt.say == "" {
				c.stdout.want(t, tt.first)
			} else {
				c.stderr.want(t, tt.say)
			}
			at, err := readEndpoints(state)
			if err != nil {
				t.Fatal(err)
			}
			s := &simulator{call: c, plane: "awsiot", at: at, state: state}
			d := s.device(t, "gw-1")
			s.sub(t, "push", "--device", "gw-1", "--url", "http://127.0.0.1:1/v2", "--job", "j-"+tt.name[:1]).end(t, exitSucceeded)
			d.delta("j-" + tt.name[:1])
			c.stop()
			out, _ := c.end(t, exitSucceeded)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if !strings.HasPrefix(lines[0], tt.first) || !strings.Contains(lines[len(lines)-1], `"topic":"state/gw-1/update/delta"`) {
				t.Errorf("standard output:\n%s", out)
			}
		})
	}
	noGoroutines(t)
}

// An end that came before the push is the end of its job too: a device does it once.
func TestSimPushOfAJobThatIsDone(t *testing.T) {
	s := startSim(t, t.TempDir())
	d := s.device(t, "gw-1")
	args := []string{"push", "--device", "gw-1", "--url", "http://127.0.0.1:1/v2", "--job", "j-1"}
	s.sub(t, args...).end(t, exitSucceeded)
	d.report("gw-1", "r-1", map[string]any{"jobID": "j-1", "softwareURL": "http://127.0.0.1:1/v2", "result": "SUCCESS"})
	s.stderr.want(t, "reports SUCCESS of job j-1")
	s.sub(t, append(args, "--wait", "1m")...).end(t, exitSucceeded)
	s.stop()
	s.end(t, exitSucceeded)
}

// A simulator that is killed while somebody waits is waited for.
func TestSimPushWaitsForTheSimulator(t *testing.T) {
	state := t.TempDir()
	s := startSim(t, state)
	push := s.sub(t, "push", "--device", "gw-1", "--url", "http://127.0.0.1:1/v2", "--job", "j-1", "--wait", "1m")
	push.stdout.want(t, "(shadow 1)")
	s.stop()
	s.end(t, exitSucceeded)
	push.stderr.want(t, "waiting for it")
	s = startSim(t, state)
	d := s.device(t, "gw-1")
	d.delta("j-1")
	d.report("gw-1", "r-1", map[string]any{"jobID": "j-1", "result": "SUCCESS"})
	push.end(t, exitSucceeded)

	push = s.sub(t, "push", "--device", "gw-1", "--job", "j-2", "--wait", "1m")
	push.stdout.want(t, "(shadow 3)")
	push.stop()
	push.end(t, exitWaiting)
	s.stop()
	s.end(t, exitSucceeded)
}

func TestSimMistakes(t *testing.T) {
	dir := t.TempDir()
	s := startSim(t, filepath.Join(dir, "state"), "--files", dir)
	bare := startSim(t, filepath.Join(dir, "bare"))
	wide := startSim(t, filepath.Join(dir, "wide"), "--files", dir, "--files-listen", "0.0.0.0:0")
	if err := os.WriteFile(filepath.Join(dir, "v2.img"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "endpoints.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return " --state " + filepath.Join(dir, name) }
	busy := strings.TrimPrefix(s.at.Broker, "tcp://")
	for _, tt := range []struct {
		args string // after updraft sim awsiot
		code int
		want string
	}{
		{"psuh", exitUsage, `unknown command "psuh", did you mean "push"?`},
		{"--listen 1883" + at("x"), exitUsage, `--listen "1883": expected host:port`},
		{"--listen " + busy + at("x"), exitUsage, "address already in use; --listen"},
		{"--control 0.0.0.0:0" + at("x"), exitUsage, "expected an address of this machine"},
		{"--files missing" + at("x"), exitUsage, "no such file"},
		{"--files " + dir + "/v2.img" + at("x"), exitUsage, "expected a folder"},
		{"--tls-cert a.pem" + at("x"), exitUsage, "tls-key"},
		{"--tls-cert a.pem --tls-key b.pem" + at("x"), exitUsage, "a.pem: no such file"},
		{"--client-ca a.pem" + at("x"), exitUsage, "wants --tls-cert"},
		{"--trace " + dir + at("x"), exitUsage, "is a directory"},
		{at("state"), exitBusy, "another simulator is at work"},
		{"push --url v2.img" + at("state"), exitUsage, "--device ID is missing"},
		{"push --device gw-1" + at("state"), exitUsage, "a URL is missing"},
		{"push --device gw/1 --url v2.img" + at("state"), exitUsage, `"gw/1" is no name of a thing`},
		{"push --device gw-1 --url v3.img" + at("state"), exitUsage, `no file "v3.img" in "` + dir + `": no such file`},
		{"push --device gw-1 --url ../v3.img" + at("state"), exitUsage, `no file "../v3.img" in "` + dir + `": path escapes`},
		{"push --device gw-1 --url state" + at("state"), exitUsage, "it is something else"},
		{"push --device gw-1 --url v2.img" + at("bare"), exitUsage, "the simulator has no folder of files"},
		{"push --device gw-1 --url v2.img" + at("wide"), exitUsage, "listens on all addresses"},
		{"push --device gw-1 --url v2.img --job a/b" + at("state"), exitUsage, `--job "a/b": expected`},
		{"push --device gw-1 --url v2.img --sha256 12" + at("state"), exitUsage, "expected 64 hexadecimal digits"},
		{"push --device gw-1 --url v2.img --size -1" + at("state"), exitUsage, "expected a number of bytes"},
		{"push --device gw-1 --url v2.img --wait 0s" + at("state"), exitUsage, "expected a time to wait"},
		{"push --device gw-1 --url v2.img --wait soon" + at("state"), exitUsage, "--wait: "},
		{"push --device gw-1 --url v2.img --set a" + at("state"), exitUsage, "expected KEY=VALUE"},
		{"push --device gw-1 --url v2.img --set a=1 --set a=2" + at("state"), exitUsage, "given twice"},
		{"push --device gw-1 --url v2.img --version 1 --set version=2" + at("state"), exitUsage, "given twice"},
		{"push --device gw-1 --url v2.img --set jobID=2" + at("state"), exitUsage, "said by the URL and the job"},
		{"push --device gw-1 --url v2.img --set a=" + strings.Repeat("x", 9000) + at("state"), exitUsage, "exceeds the maximum size"},
		{"push --device gw-1 --url v2.img" + at("x"), exitUsage, "no simulator has run in"},
		{"push --device gw-1 --url v2.img" + at("broken"), exitUsage, "does not hold the addresses"},
		{"push --device gw-1 --url v2.img --control 127.0.0.1:1", exitUsage, "expected an address such as"},
		{"push --device gw-1 --url v2.img --control http://127.0.0.1:1", exitInternal, "no simulator answers at 127.0.0.1:1"},
		{"push --device gw-1 --url v2.img --control http://" + strings.TrimSuffix(strings.TrimPrefix(s.at.Files, "http://"), "/files/"), exitInternal, "404 Not Found"},
		{"push --device gw-1 --control http://127.0.0.1:1" + at("state"), exitUsage, "none of the others can be"},
		{"fault duplicated" + at("state"), exitUsage, `unknown fault "duplicated", did you mean "duplicate"?`},
		{"fault drop slow" + at("state"), exitUsage, "expected one KIND"},
		{"fault --every 3" + at("state"), exitUsage, "KIND is missing"},
		{"fault delay" + at("state"), exitUsage, "expected a delay of up to a minute"},
		{"fault delay --delay 1h" + at("state"), exitUsage, "expected a delay of up to a minute"},
		{"fault slow --rate 0" + at("state"), exitUsage, "expected a number of bytes a second"},
		{"fault drop --every 0" + at("state"), exitUsage, "expected at least 1"},
		{"fault drop --every 2 --percent 5" + at("state"), exitUsage, "no --every"},
		{"fault drop --percent 101" + at("state"), exitUsage, "expected 1 to 100"},
		{"fault cut --after -1" + at("state"), exitUsage, "expected a number of bytes"},
		{"fault drop --rate 5" + at("state"), exitUsage, "--rate is not for fault drop"},
		{"fault drop --every 5 --off" + at("state"), exitUsage, "--off ends drop as a whole"},
		{"show --device gw-7" + at("state"), exitUsage, `unknown device "gw-7"`},
		{"show now" + at("state"), exitUsage, "takes no arguments"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			c := begin(t, append([]string{"sim", "awsiot"}, strings.Fields(tt.args)...)...)
			out, say := c.end(t, tt.code)
			if out != "" || strings.Count(say, "\n") != 1 || !strings.Contains(say, tt.want) {
				t.Errorf("%q and %q, want nothing and one line with %q", out, say, tt.want)
			}
		})
	}
	for _, s := range []*simulator{s, bare, wide} {
		s.stop()
		s.end(t, exitSucceeded)
	}
	noGoroutines(t)
}

// withoutFlag leaves out a flag and its value.
func withoutFlag(args []string, flag string) []string {
	if at := slices.Index(args, flag); at >= 0 {
		return slices.Concat(args[:at], args[at+2:])
	}
	return args
}

// Each fault that the simulator has can be set and ended, and is completed.
func TestSimFaults(t *testing.T) {
	s := startSim(t, t.TempDir())
	_, err := cloudsim.Remote{Control: s.at.Control}.SetFault(t.Context(), cloudsim.Fault{Kind: "x"})
	var kinds []cloudsim.FaultKind
	for _, f := range simFaults {
		kinds = append(kinds, f.kind)
	}
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", kinds)) {
		t.Errorf("the faults are %q, but the simulator says %v", kinds, err)
	}
	values := map[string]string{"client": "gw-1", "every": "3", "delay": "200ms", "rate": "1000", "after": "5", "status": "403"}
	for _, f := range simFaults {
		args := []string{"fault", string(f.kind)}
		want := string(f.kind)
		for _, flag := range f.flags {
			if flag == "percent" {
				continue // in place of every
			}
			args = append(args, "--"+flag, values[flag])
			want += " --" + flag + " " + values[flag]
		}
		if f.kind == cloudsim.FaultNone {
			want = "no faults"
		}
		if out, _ := s.sub(t, args...).end(t, exitSucceeded); out != want+"\n" {
			t.Errorf("%q prints %q, want %q", args, out, want)
		}
		if out, _ := s.sub(t, "fault").end(t, exitSucceeded); out != want+"\n" {
			t.Errorf("fault prints %q, want %q", out, want)
		}
		if slices.Contains(f.flags, "percent") {
			if out, _ := s.sub(t, slices.Concat(args[:2], []string{"--percent", "100"}, withoutFlag(args[2:], "--every"))...).end(t, exitSucceeded); !strings.Contains(out, " --percent 100") {
				t.Errorf("%s by chance prints %q", f.kind, out)
			}
		}
		s.sub(t, "fault", string(f.kind), "--off").end(t, exitSucceeded)
		if out, _ := s.sub(t, "fault").end(t, exitSucceeded); out != "no faults\n" {
			t.Errorf("%s --off leaves %q", f.kind, out)
		}
	}
	if _, say := s.sub(t, "fault", "drop").end(t, exitSucceeded); say != "connections were cut\n" {
		t.Errorf("fault drop says %q", say)
	}
	out, _ := begin(t, "__complete", "sim", "awsiot", "fault", "").end(t, exitSucceeded)
	if !strings.Contains(out, "\nlost-puback\tacknowledgements") {
		t.Errorf("completion gives %q", out)
	}
	s.stop()
	s.end(t, exitSucceeded)
}

// Without a folder nothing is written, and the address must be given.
func TestSimWithoutAFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	s := startSim(t, "")
	out, say := begin(t, "sim", "awsiot", "show", "--control", s.at.Control+"/").end(t, exitSucceeded)
	if out != "" || say != "no device has connected, and nothing is desired yet\n" {
		t.Errorf("show prints %q and %q", out, say)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("the folder holds %v, %v; want nothing", left, err)
	}
	s.stop()
	s.end(t, exitSucceeded)
}

func TestSimEndsWithASignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := exec.Command("updraft", "sim", "awsiot")
		cmd.Dir = t.TempDir()
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		lines := bufio.NewScanner(stdout)
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "broker   tcp://127.0.0.1:") {
			t.Errorf("the first line is %q", lines.Text())
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want exit code 0", signal, err)
		}
		if _, err := os.Stat(filepath.Join(cmd.Dir, simFolder, "devices.json")); !os.IsNotExist(err) {
			t.Errorf("devices.json: %v, want none before the first device", err)
		}
	}
}
