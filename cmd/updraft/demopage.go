package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

const pageWidth = 100 // columns, at most

// page writes the story. Bold type is for terminals only.
type page struct {
	to       io.Writer
	bold     bool
	chapters int
	last     string // line of a command
}

func newPage(p *program) *page {
	f, ok := p.stdout.(*os.File)
	bold := ok && term.IsTerminal(int(f.Fd())) && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb"
	return &page{to: p.stdout, bold: bold}
}

func (g *page) strong(text string) {
	text = fit(text)
	if g.bold {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintln(g.to, text)
}

func (g *page) title(format string, args ...any) { g.strong(fmt.Sprintf(format, args...)) }

func (g *page) chapter(title string) {
	g.chapters++
	fmt.Fprintln(g.to)
	g.strong(fmt.Sprintf("%d. %s", g.chapters, title))
}

// note is a line of the demo itself.
func (g *page) note(format string, args ...any) {
	fmt.Fprintln(g.to, fit("   * "+fmt.Sprintf(format, args...)))
}

// command shows a command as somebody would type it.
func (g *page) command(args []string) {
	line := "   $ updraft"
	for i := 0; i < len(args); i++ {
		word := quoted(args[i])
		if strings.HasPrefix(word, "--") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			i++
			word += " " + quoted(args[i]) // a flag stays with its value
		}
		if utf8.RuneCountInString(line+" "+word+` \`) > pageWidth {
			fmt.Fprintln(g.to, line+` \`)
			line = "      "
		}
		line += " " + word
	}
	fmt.Fprintln(g.to, line)
}

// dull are parts of lines that the page leaves out, since the notes or the last
// line of the same command tell them too. The commands print them all, and
// updraft log does.
var dull = []string{
	"keep release.key secret", "sign it: ", "after it: updraft resume",
	"release.json: release ", ": begin", ": done in ", "restart armed", "restart due", "restart confirmed",
	"prove: undone", "report delivered", "image: full image of ",
}

// shown gives a line of a command as it stands on the page, "" for none.
func (g *page) shown(line string) string {
	repeated := line == g.last
	g.last = line
	passing := strings.Contains(line, " % ") && !strings.HasPrefix(line, "write: 100 %") // progress on its way
	if repeated || passing || strings.HasPrefix(line, "run ") ||
		slices.ContainsFunc(dull, func(part string) bool { return strings.Contains(line, part) }) {
		return ""
	}
	return fit("   " + line)
}

// fit shortens a line to the page.
func fit(line string) string {
	if r := []rune(line); len(r) > pageWidth {
		return string(r[:pageWidth-1]) + "…"
	}
	return line
}

// said is what a command has printed, line by line as it goes on.
type said struct {
	page *page
	all  bytes.Buffer
	line []byte // that has not ended yet
}

// Write shows each line once it is whole.
func (s *said) Write(p []byte) (int, error) {
	s.all.Write(p)
	for s.line = append(s.line, p...); ; {
		end := bytes.IndexByte(s.line, '\n')
		if end < 0 {
			return len(p), nil
		}
		if text := s.page.shown(string(s.line[:end])); text != "" {
			fmt.Fprintln(s.page.to, text)
		}
		s.line = s.line[end+1:]
	}
}

func (s *said) has(text string) bool { return bytes.Contains(s.all.Bytes(), []byte(text)) }

// gentle is a command that is asked to stop when ctx ends, with all that it
// started, and is killed if it does not.
func gentle(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// updraft runs a command of this program as a process of its own, shows it and
// holds it to its exit code.
func (d *demo) updraft(ctx context.Context, want int, args ...string) (*said, error) {
	d.page.command(args)
	s := &said{page: d.page}
	cmd := gentle(ctx, d.self, args...)
	cmd.Args[0] = "updraft"
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, s, s
	err := cmd.Run()
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return s, fmt.Errorf("run %s: %w", d.self, err)
	}
	got := cmd.ProcessState.ExitCode()
	if args[0] == "run" || args[0] == "resume" {
		d.page.note("updraft, pid %d, ends with exit code %d", cmd.Process.Pid, got)
	}
	return s, d.expect(got == want, "updraft %s ended with exit code %d, want %d", args[0], got, want)
}

// reports shows what the device has told, and that each run told it once.
func (d *demo) reports(context.Context) error {
	d.page.chapter("Reports: one for each run, in device/reports.ndjson")
	text, err := os.ReadFile(d.path("device/reports.ndjson"))
	if err != nil {
		return err
	}
	want := []engine.Report{
		{ID: "to-2.0", State: engine.Succeeded},
		{ID: "to-3.0", State: engine.RolledBack, Code: "probe", Message: unhealthy},
		{ID: "to-2-again.0", State: engine.Succeeded, Code: "already_installed"},
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err := d.expect(len(lines) == len(want), "there are %d reports, want %d", len(lines), len(want)); err != nil {
		return err
	}
	for i, line := range lines {
		var r engine.Report
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return fmt.Errorf("report %d: %w", i+1, err)
		}
		w := want[i]
		if err := d.expect(r.ID == w.ID && r.State == w.State && r.Code == w.Code, "report %d is %s %s %q, want %s %s %q",
			i+1, r.ID, r.State, r.Code, w.ID, w.State, w.Code); err != nil {
			return err
		}
		if err := d.expect(strings.Contains(r.Message, w.Message), "report %s does not say %q: %s", r.ID, w.Message, r.Message); err != nil {
			return err
		}
		running := r.Fields["running"]
		if err := d.expect(running == better, "report %s says that the device runs %v, want %s", r.ID, running, better); err != nil {
			return err
		}
		d.page.note("%-14s release %v, device runs %v: %s", r.ID, r.Release["version"], running, agent.Phrase(string(r.State), r.Code))
	}
	return nil
}

// deltaOf gives the bytes of the delta to a version, and of its full image.
func (d *demo) deltaOf(version string) (delta, full int64, err error) {
	name := d.path("releases/" + version + "/" + manifestName)
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, err
	}
	r, err := trust.ParseRelease(name, text)
	if err != nil {
		return 0, 0, err
	}
	if err := d.expect(len(r.Artifacts) == 1 && len(r.Artifacts[0].Deltas) == 1, "%s lists no delta", name); err != nil {
		return 0, 0, err
	}
	return r.Artifacts[0].Deltas[0].Size, r.Artifacts[0].Size, nil
}

// farewell says what to look at. Its lines are for copying, so none is cut.
func (d *demo) farewell() error {
	fmt.Fprintln(d.page.to)
	d.page.strong(fmt.Sprintf("All as promised, in %.1f s. Look around, and remove the folder when you have seen enough:", time.Since(d.began).Seconds()))
	for _, line := range []string{
		"cd " + quoted(d.dir) + " && alias updraft=" + quoted(d.self),
		"updraft status --device device/device.yaml",
		"updraft log --device device/device.yaml",
		"updraft release show releases/2.0.0 --key release.pub",
	} {
		fmt.Fprintln(d.page.to, "   "+line)
	}
	return nil
}
