package process

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

var updateGuide = flag.Bool("update-guide", false, "write what the guide's commands print, and their conversations, into the guide")

// The ports that guides and their agent files name.
var guidePorts = []string{"1883", "1884", "8080"}

// guidePages are the pages of docs whose commands are run.
var guidePages = []struct {
	name   string
	folder string            // of the examples, where the commands run
	beside []string          // what is copied with it
	ends   map[string]string // what the cloud knows in the end: the outcome of each job
	blocks int               // at least, so that a page is not passed over
}{
	{"aws-shadow", "aws-shadow", []string{"aws-shadow"},
		map[string]string{"to-2": "succeeded", "to-3": "failed", "to-4": "succeeded", "owner-7": "succeeded", "to-5": "succeeded", "to-6": "failed",
			"classic-2": "succeeded", "named-4": "succeeded"}, 19},
	{"tencent", "planes/tencent", []string{"planes", "install-c"},
		map[string]string{"to-2": "succeeded", "to-3": "failed", "to-4": "failed", "to-4-again": "succeeded"}, 15},
	{"aliyunota", "planes/aliyunota", []string{"planes", "install-c"},
		map[string]string{"to-2": "succeeded", "to-3": "failed", "to-4": "succeeded", "to-5": "succeeded"}, 15},
	{"haas", "planes/haas", []string{"planes"},
		map[string]string{"to-2": "succeeded", "to-3": "failed", "back-to-1": "succeeded", "to-4": "failed"}, 15},
	{"quickstart.zh", "planes/tencent", []string{"planes", "install-c"},
		map[string]string{"tencent-2": "succeeded", "ali-2": "succeeded", "ali-3": "failed"}, 15},
	{"azurehub", "planes/azurehub", []string{"planes", "install-c"},
		map[string]string{"to-2": "succeeded", "to-3": "failed", "to-4": "succeeded", "to-5": "rejected"}, 10},
	{"adu", "planes/adu", []string{"planes", "install-c"},
		map[string]string{"to-2": "succeeded", "to-3": "failed", "to-4": "succeeded", "to-5": "cancelled"}, 10},
	{"awsjobs", "planes/awsjobs", []string{"planes", "install-c"},
		map[string]string{"to-2": "succeeded", "to-3": "failed", "to-4": "cancelled", "to-5": "succeeded"}, 15},
	{"hawkbit", "planes/hawkbit", []string{"planes", "install-c"},
		map[string]string{"1": "succeeded", "2": "failed", "3": "cancelled", "4": "succeeded"}, 15},
}

// TestGuide runs the commands of pages, with the simulator and the agent as
// processes of their own, and compares what they print and the trace of all
// messages with the page.
func TestGuide(t *testing.T) {
	for _, p := range guidePages {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if slices.Contains(p.beside, "install-c") {
				planeModule(t, "install-c") // without a compiler the page is skipped
			}
			page := filepath.Join("..", "..", "docs", p.name+".md")
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			work := t.TempDir()
			g := &guide{t: t, dir: filepath.Join(work, filepath.FromSlash(p.folder)), ports: map[string]string{}}
			for _, port := range guidePorts {
				g.ports["127.0.0.1:"+port] = "127.0.0.1:" + quietPort(t)
			}
			for _, folder := range p.beside {
				// The links of examples lead out of them, so a copy holds what they lead to.
				if out, err := exec.Command("cp", "-RL", filepath.Join("..", "..", "examples", folder), work).CombinedOutput(); err != nil {
					t.Fatalf("copy %s: %v\n%s", folder, err, out)
				}
			}
			g.portInFile("agent.yaml")
			now := g.walk(string(text))
			for _, p := range g.running {
				if code, _ := p.stop(t, syscall.SIGINT); code != 0 {
					t.Errorf("%q ends with %d after an interrupt, want 0\n%s", p.cmd.Args, code, p.text())
				}
			}
			if rest := g.messages(); len(rest) > 0 {
				t.Errorf("the trace goes on after the guide: %+v", rest)
			}
			if g.blocks < p.blocks || len(g.running) < 2 {
				t.Errorf("%d blocks and %d terminals were found in the guide, it has more", g.blocks, len(g.running))
			}
			g.ends(p.ends)
			if *updateGuide && !t.Failed() {
				if err := os.WriteFile(page, []byte(now), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// quietPort gives a port that nobody listens at, out of those that the system gives to
// nobody by itself: the page's programs take it when others have asked for some meanwhile.
func quietPort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port between 20000 and 32000")
	return ""
}

// walk runs what a page shows and gives the page as it is now.
func (g *guide) walk(text string) string {
	g.t.Helper()
	return fenced.ReplaceAllStringFunc(text, func(block string) string {
		m := fenced.FindStringSubmatch(block)
		var have string
		switch m[1] {
		case "console":
			have = g.console(m[2])
		case "terminal":
			have = g.terminal(m[2])
		case "trace":
			have = g.trace(m[2])
		default:
			return block
		}
		g.blocks++
		if have != m[2] && !*updateGuide {
			g.t.Errorf("block %d of the guide: got\n%swant\n%s", g.blocks, have, m[2])
		}
		return "```" + m[1] + "\n" + have + "```"
	})
}

var fenced = regexp.MustCompile("(?s)```(\\w+)\n(.*?)```")

// guide is a walk through the page.
type guide struct {
	t       *testing.T
	dir     string
	left    []string          // folders where the page began
	ports   map[string]string // by address in the guide: the one here
	blocks  int
	running []*process
	shown   int // messages of the trace that the page has shown
}

func (g *guide) portInFile(name string) {
	g.t.Helper()
	name = filepath.Join(g.dir, name)
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(g.here(string(text))), 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *guide) here(text string) string {
	for from, to := range g.ports {
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// others are what is another one each time, and what stands for it.
var others = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`run-[0-9a-f]{16}`), "RUN"},
	{regexp.MustCompile(`(key |have \\?")[0-9A-F]{16}\b`), "${1}KEY"},
	{regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+ `), ""},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`(connected for|since) [0-9hms.]+`), "$1 TIME"},
	{regexp.MustCompile(`\([0-9hms.]+ ago\)`), "(TIME ago)"},
	{regexp.MustCompile(`\$rid=[a-z2-7]{16}$`), "$$rid=CALL"},
	{regexp.MustCompile(`made in [0-9.]+ s`), "made in TIME"},
	{regexp.MustCompile(`[0-9.]+ KiB in [0-9.]+ s, sha256 [0-9a-f]{64}`), "SIZE in TIME, sha256 DIGEST"},
	{regexp.MustCompile(`,"timestamp":\d+\}`), "}"},
	{regexp.MustCompile(`\bmodule [0-9a-f]{12}\b`), "module DIGEST"},
	{regexp.MustCompile(`"id":("?)\d{10}\b`), `"id":${1}ID`},
	{regexp.MustCompile(`"haasTraceId":"[0-9a-f]+"`), `"haasTraceId":"TRACE"`},
	{regexp.MustCompile(`"size":\d+,"appId"`), `"size":SIZE,"appId"`}, // of a package that tar made
	{regexp.MustCompile(`"md5":"[0-9a-f]{32}","needRestart"`), `"md5":"MD5","needRestart"`},
	{regexp.MustCompile(`"timestamp":\d+,?`), ""},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`\beyJ[\w=-]+\.[\w=-]+\.[\w=-]+`), "JWS"},
	{regexp.MustCompile(`"(queuedAt|startedAt|lastUpdatedAt|logTime)":\d+`), `"$1":TIME`},
	{regexp.MustCompile(`"(clientToken|c)":"\d{10}-(\d+)"`), `"$1":"TIME-$2"`},
}

// same makes a text the same each time.
func (g *guide) same(text string) string {
	for from, to := range g.ports { // not one of the others
		text = strings.ReplaceAll(text, to, strings.Replace(from, ":", "\x00", 1))
	}
	for _, o := range others {
		text = o.what.ReplaceAllString(text, o.as)
	}
	return strings.ReplaceAll(text, "127.0.0.1\x00", "127.0.0.1:")
}

// split takes a block apart into its commands, each with what it prints.
func split(block string) (commands, outputs []string) {
	for line := range strings.Lines(block) {
		switch last := len(commands) - 1; {
		case strings.HasPrefix(line, "$ "):
			commands, outputs = append(commands, line), append(outputs, "")
		case strings.HasPrefix(line, "> ") && last >= 0:
			commands[last] += line
		case last >= 0:
			outputs[last] += line
		}
	}
	return commands, outputs
}

// script is a command without its prompts.
func (g *guide) script(command string) string {
	var lines []string
	for line := range strings.Lines(command) {
		lines = append(lines, line[2:])
	}
	return g.here(strings.Join(lines, ""))
}

// console runs the commands of a block and gives the block as it is now.
func (g *guide) console(block string) string {
	g.t.Helper()
	commands, _ := split(block)
	var out strings.Builder
	for _, command := range commands {
		if to, ok := strings.CutPrefix(strings.TrimSuffix(command, "\n"), "$ cd "); ok {
			g.goOn(to)
			out.WriteString(command)
			continue
		}
		ctx, stop := context.WithTimeout(g.t.Context(), 2*time.Minute)
		defer stop()
		cmd := exec.CommandContext(ctx, "sh", "-c", g.script(command))
		cmd.WaitDelay = time.Second // for what a shell leaves behind
		cmd.Dir = g.dir
		cmd.Env = append(os.Environ(), "PATH="+programs(g.t)+":"+os.Getenv("PATH"), "TZ=UTC")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			g.t.Fatalf("%s%v\n%s%s", command, err, stdout.String(), stderr.String())
		}
		out.WriteString(command + g.same(stdout.String()))
	}
	return out.String()
}

// goOn has the rest of the page play in another folder, with another cloud.
func (g *guide) goOn(folder string) {
	g.t.Helper()
	if rest := g.messages(); len(rest) > 0 {
		g.t.Errorf("the trace goes on before cd %s: %+v", folder, rest)
	}
	g.left, g.dir, g.shown = append(g.left, g.dir), filepath.Join(g.dir, filepath.FromSlash(folder)), 0
}

// terminal starts the program of a block, which goes on, and waits until it has
// printed what the block shows.
func (g *guide) terminal(block string) string {
	g.t.Helper()
	commands, outputs := split(block)
	if len(commands) != 1 {
		g.t.Fatalf("a terminal with %d commands, want one", len(commands))
	}
	p := begin(g.t, g.dir, "sh", "-c", "exec "+g.script(commands[0]))
	g.running = append([]*process{p}, g.running...) // the last is stopped first
	for line := range strings.Lines(outputs[0]) {
		p.until(g.t, line, func(have string) bool { return slices.Contains(slices.Collect(strings.Lines(g.same(have))), line) })
	}
	return block
}

// trace waits for as many messages as a block shows, and shows them, by client.
func (g *guide) trace(block string) string {
	g.t.Helper()
	want := strings.Count(block, "\n") / 2
	if *updateGuide {
		time.Sleep(2 * time.Second) // nobody says how many there will be
	} else {
		limit := time.Now().Add(20 * time.Second)
		for len(g.messages()) < want && time.Now().Before(limit) {
			time.Sleep(20 * time.Millisecond)
		}
	}
	news := g.messages()
	g.shown += len(news)
	slices.SortStableFunc(news, func(a, b cloudsim.Line) int { return strings.Compare(a.Client, b.Client) })
	news = paired(news)
	var out strings.Builder
	for _, m := range news {
		way := map[string]string{"up": "from", "down": "to"}[m.Direction]
		if m.Dup {
			way = "again " + way
		}
		fmt.Fprintf(&out, "%s %s on %s\n    %s\n", way, m.Client, g.same(m.Topic), cmp.Or(g.same(m.Payload), "(empty)"))
	}
	if slices.Equal(ways(out.String()), ways(block)) {
		return block
	}
	return out.String()
}

// ways are the messages of a trace, those to clients behind those from them: two
// that go opposite ways may cross, and which was first is not always the same.
func ways(block string) []string {
	lines := slices.Collect(strings.Lines(block))
	messages := slices.Collect(slices.Chunk(lines, 2))
	slices.SortStableFunc(messages, func(a, b []string) int {
		return strings.Compare(strings.TrimPrefix(a[0], "again ")[:2], strings.TrimPrefix(b[0], "again ")[:2])
	})
	return slices.Concat(messages...)
}

// paired puts the answers of a hub behind the requests of the device that they
// answer: with several under way the order is another one each time.
func paired(all []cloudsim.Line) []cloudsim.Line {
	var out []cloudsim.Line
	for _, m := range all {
		at := len(out)
		if rid := requestID.FindString(m.Topic); rid != "" && m.Direction == "down" {
			asked := func(r cloudsim.Line) bool {
				return r.Direction == "up" && r.Client == m.Client && requestID.FindString(r.Topic) == rid
			}
			if i := slices.IndexFunc(out, asked); i >= 0 {
				at = i + 1
			}
		}
		out = slices.Insert(out, at, m)
	}
	return out
}

var requestID = regexp.MustCompile(`\$rid=\w+`)

// withoutPolls takes out of a trace what a device that polls asks for, files among it, and
// answers that say what the one before said: how many there are is another number
// each time.
func withoutPolls(all []cloudsim.Line) (out []cloudsim.Line) {
	said := map[string]string{}
	for _, m := range all {
		if strings.HasPrefix(m.Topic, "GET ") {
			last, known := said[m.Client+m.Topic]
			same := known && last == m.Payload
			said[m.Client+m.Topic] = m.Payload
			if same || m.Direction == "up" || strings.Contains(m.Topic, "/softwaremodules/") {
				continue
			}
		}
		out = append(out, m)
	}
	return out
}

// messages are those of the trace that were not shown yet.
func (g *guide) messages() []cloudsim.Line {
	g.t.Helper()
	data, err := os.ReadFile(filepath.Join(g.dir, "trace.ndjson"))
	if err != nil {
		g.t.Fatal(err)
	}
	var all []cloudsim.Line
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		var m cloudsim.Line
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			break // half a line, as yet
		}
		all = append(all, m)
	}
	return withoutPolls(all)[g.shown:]
}

// ends holds what the cloud knows to one end a job, each with a report of its own.
func (g *guide) ends(want map[string]string) {
	g.t.Helper()
	var files []string
	for _, dir := range append(g.left, g.dir) {
		names, err := filepath.Glob(filepath.Join(dir, ".updraft-sim", "devices", "*.json"))
		if err != nil {
			g.t.Fatal(err)
		}
		files = append(files, names...)
	}
	got, reports := map[string]string{}, map[string]bool{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			g.t.Fatal(err)
		}
		var r cloudsim.Record
		if err := json.Unmarshal(data, &r); err != nil {
			g.t.Fatal(err)
		}
		for _, e := range r.Ends {
			got[e.Job] += string(e.Outcome)
			reports[e.Job+" "+e.Report] = true
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(reports) != len(want) {
		g.t.Errorf("the cloud knows the ends %v from %d reports, want %v from as many", got, len(reports), want)
	}
}
