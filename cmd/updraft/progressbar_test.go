package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/updraft-ota/updraft/engine"
)

// screen is what a terminal of a width shows in the end, of programs that only
// return to the beginning of a line and erase from there.
type screen struct {
	width int
	rows  []string
	row   []rune
	at    int
	left  []byte // the begin of a sequence
}

func (s *screen) Write(p []byte) (int, error) {
	text := append(s.left, p...)
	for s.left = nil; len(text) > 0; {
		if bytes.HasPrefix(text, []byte("\x1b[K")) {
			s.row, text = s.row[:min(s.at, len(s.row))], text[3:]
			continue
		}
		if strings.HasPrefix("\x1b[K", string(text)) {
			s.left = text
			break
		}
		s.put(rune(text[0]))
		text = text[1:]
	}
	return len(p), nil
}

func (s *screen) put(r rune) {
	switch {
	case r == '\r':
		s.at = 0
		return
	case r == '\n' || s.at == s.width:
		s.rows, s.row, s.at = append(s.rows, string(s.row)), nil, 0
		if r == '\n' {
			return
		}
	}
	if r < ' ' || r > '~' {
		r = '?' // what the test does not expect shows
	}
	s.row = append(s.row[:s.at], append([]rune{r}, s.row[min(s.at+1, len(s.row)):]...)...)
	s.at++
}

func (s *screen) String() string {
	return strings.TrimRight(strings.Join(append(s.rows[:len(s.rows):len(s.rows)], string(s.row)), "\n"), " ")
}

const mebi = 1 << 20

// step and bytes are events, so many milliseconds after the beginning.
func step(ms int, id, state string) engine.Event {
	return engine.Event{Kind: engine.EventStep, Step: id, State: state, Time: after(ms)}
}

func moved(ms int, id string, done, total int64) engine.Event {
	return engine.Event{Kind: engine.EventProgress, Step: id, Done: done, Total: total, Time: after(ms)}
}

func after(ms int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

func TestBars(t *testing.T) {
	begin := step(0, "write", "begin")
	for _, tt := range []struct {
		name    string
		columns int
		events  []engine.Event
		want    string
	}{
		{"the first bytes have no rate yet", 80, []engine.Event{begin, moved(0, "write", mebi, 10*mebi)},
			"write: begin\nwrite:  10% [>...............] 1.0 MiB of 10.0 MiB"},
		{"bytes, rate and time", 80, []engine.Event{begin, moved(0, "write", 0, 10*mebi), moved(2000, "write", 4*mebi, 10*mebi)},
			"write: begin\nwrite:  40% [=====>..........] 4.0 MiB of 10.0 MiB, 2.0 MiB/s, 3s left"},
		{"a resumed step counts new bytes alone", 80, []engine.Event{begin, moved(0, "write", 6*mebi, 10*mebi), moved(1000, "write", 7*mebi, 10*mebi)},
			"write: begin\nwrite:  70% [==========>.....] 7.0 MiB of 10.0 MiB, 1.0 MiB/s, 3s left"},
		{"a wide terminal has a longer bar, but not without end", 300, []engine.Event{moved(0, "write", 5*mebi, 10*mebi)},
			"write:  50% [===================>....................] 5.0 MiB of 10.0 MiB"},
		{"a narrow one has figures alone", 60, []engine.Event{moved(0, "write", 5*mebi, 10*mebi)},
			"write:  50% 5.0 MiB of 10.0 MiB"},
		{"a very narrow one has what fits", 20, []engine.Event{moved(0, "write", 5*mebi, 10*mebi), moved(10, "write", 6*mebi, 10*mebi)},
			"write:  60% 6.0 M"},
		{"a terminal without width breaks nothing", 1, []engine.Event{moved(0, "write", 5*mebi, 10*mebi)}, ""},
		{"an unknown total has no bar", 80, []engine.Event{moved(0, "write", 0, 0), moved(500, "write", mebi, 0)},
			"write: 1.0 MiB, 2.0 MiB/s"},
		{"the end of the step ends its bar", 80, []engine.Event{begin, moved(0, "write", 0, mebi), moved(400, "write", mebi, mebi), step(1000, "write", "done")},
			"write: begin\nwrite: done in 1s\n"},
		{"a failure ends it too", 80, []engine.Event{begin, moved(0, "write", 0, mebi), {Kind: engine.EventRetry, Step: "write", Code: "network", Text: "no route"}},
			"write: begin\nwrite: failed, but is tried again: network: no route\n"},
		{"other lines stand above", 80, []engine.Event{begin, moved(0, "write", 5*mebi, 10*mebi), {Kind: engine.EventLog, Step: "write", Text: "a hint"}},
			"write: begin\nwrite: a hint\nwrite:  50% [=======>........] 5.0 MiB of 10.0 MiB"},
		{"steps that take turns keep their rates", 80, []engine.Event{moved(0, "image", 0, 10*mebi), moved(0, "write", 0, 20*mebi), moved(1000, "image", mebi, 10*mebi), moved(2000, "write", 4*mebi, 20*mebi), moved(2000, "image", 2*mebi, 10*mebi)},
			"image:  20% [==>.............] 2.0 MiB of 10.0 MiB, 1.0 MiB/s, 8s left"},
		{"a step that begins again begins a rate", 80, []engine.Event{moved(0, "write", 0, 10*mebi), moved(1000, "write", 5*mebi, 10*mebi), step(1000, "write", "begin"), moved(9000, "write", 6*mebi, 10*mebi)},
			"write: begin\nwrite:  60% [========>.......] 6.0 MiB of 10.0 MiB"},
		{"the whole", 80, []engine.Event{moved(0, "write", 0, 10*mebi), moved(1000, "write", 10*mebi, 10*mebi)},
			"write: 100% [================] 10.0 MiB of 10.0 MiB, 10.0 MiB/s"},
		{"more than the whole", 80, []engine.Event{moved(0, "write", 11*mebi, 10*mebi)},
			"write: 100% [================] 11.0 MiB of 10.0 MiB"},
		{"the largest sizes", 80, []engine.Event{moved(0, "write", 0, 1<<63-1), moved(1000, "write", 1, 1<<63-1), moved(2000, "write", 1<<62, 1<<63-1)},
			"write:  50% [=======>........] 4.0 EiB of 8.0 EiB, 2.0 EiB/s, 2s left"},
		{"hours that nobody waits for are not told", 80, []engine.Event{moved(0, "write", 0, 1<<40), moved(1000, "write", 1024, 1<<40)},
			"write:   0% [................] 1.0 KiB of 1.0 TiB, 1.0 KiB/s"},
		{"a restart", 80, []engine.Event{moved(0, "write", 0, mebi), {Kind: engine.EventRestart, Step: "prove", State: "armed"}},
			"prove: restart armed\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &screen{width: tt.columns}
			b := newBars(s, func() int { return tt.columns })
			for _, e := range tt.events {
				b.Show(e)
			}
			if got := s.String(); got != tt.want {
				t.Errorf("the screen shows\n%s\nwant\n%s", got, tt.want)
			}
			b.clear()
			if at := strings.LastIndexByte(s.String(), '\n') + 1; s.String()[at:] != "" {
				t.Errorf("after clear the last line is %q, want none", s.String()[at:])
			}
		})
	}
}

// The width is that of the moment, not of the beginning.
func TestBarsFollowTheTerminal(t *testing.T) {
	s, columns := &screen{width: 100}, 100
	b := newBars(s, func() int { return columns })
	b.Show(moved(0, "write", 5*mebi, 10*mebi))
	wide := s.String()
	columns = 90
	b.Show(moved(100, "write", 5*mebi, 10*mebi))
	if got := len(wide) - len(s.String()); got != 10 {
		t.Errorf("the line is shorter by %d, want 10:\n%s\n%s", got, wide, s)
	}
}

// A terminal echoes ^C where the cursor stands.
func TestAnEchoIsErased(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []engine.Event
	}{
		{"behind a bar", []engine.Event{moved(0, "write", 5*mebi, 10*mebi)}},
		{"on an empty line", nil},
	} {
		s := &screen{width: 80}
		b := newBars(s, func() int { return 80 })
		for _, e := range tt.events {
			b.Show(e)
		}
		_, _ = io.WriteString(s, "^C")
		b.clear()
		if got := s.String(); got != "" {
			t.Errorf("%s: the screen shows %q, want nothing", tt.name, got)
		}
	}
}

func TestMeter(t *testing.T) {
	for _, tt := range []struct {
		name  string
		marks []mark
		want  float64 // bytes a second
	}{
		{"nothing yet", nil, 0},
		{"one mark", []mark{{after(0), 100}}, 0},
		{"too early", []mark{{after(0), 0}, {after(199), 100}}, 0},
		{"two marks", []mark{{after(0), 100}, {after(1000), 300}}, 200},
		{"what is long ago does not count", []mark{{after(0), 0}, {after(5000), 5_000_000}, {after(10_000), 5_000_500}}, 100},
		{"a clock set back", []mark{{after(9000), 0}, {after(0), 100}, {after(1000), 200}}, 100},
	} {
		m := &meter{}
		for _, k := range tt.marks {
			m.add(k.at, k.done)
		}
		if got := m.rate(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// openTerminal gives both ends of a terminal of 100 columns.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err == nil {
		program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return person, program
}

// The example on a terminal: bars are drawn, and none is left.
func TestFirstUpdateOnATerminal(t *testing.T) {
	const example = "../../examples/first-update"
	commands, _ := console(t, filepath.Join(example, "README.md"))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	until := func(c string) bool { return strings.HasPrefix(c, "updraft run") }
	var before []string
	for ; len(commands) > 0 && !until(commands[0]); commands = commands[1:] {
		if !strings.HasPrefix(commands[0], "updraft crash-test") {
			before = append(before, commands[0])
		}
	}
	if len(commands) == 0 {
		t.Fatal("the example runs nothing")
	}
	shell := func(command string, term string, stderr io.Writer) string {
		c := exec.Command("sh", "-e", "-c", command)
		c.Dir, c.Env, c.Stderr = dir, append(os.Environ(), "TERM="+term), stderr
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return string(out)
	}
	shell(strings.Join(before, "\n"), "xterm", io.Discard)
	for _, tt := range []struct {
		name, term, command string
		bars                bool
		want                string
	}{
		{"run", "xterm", commands[0], true, `run to-2 accepted: gateway
write: begin
image: udelta delta of \d+ bytes instead of the full image of \d+, from rootfs@a
write: done in \S+
prove: begin
prove: restart armed: forward
prove: restart due: device
waiting for the restart; after it: updraft resume --device device.yaml
`},
		{"resume, on a terminal that cannot erase", "dumb", "updraft resume --device device.yaml --restart simulate", false, `run to-2 resumed
prove: begin
prove: restart due: device
prove: begin
prove: restart booted
prove: restart confirmed
prove: done in \S+
report delivered: to-2.0
`},
	} {
		raw := onTerminal(t, func(terminal *os.File) { shell(tt.command, tt.term, terminal) })
		s := &screen{width: 100}
		_, _ = s.Write(raw)
		if got := s.String(); !regexp.MustCompile("^" + tt.want + "$").MatchString(got) {
			t.Errorf("%s: the screen shows\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if got := bytes.Contains(raw, []byte("write: 100% [====")); got != tt.bars {
			t.Errorf("%s: a bar was drawn: %v, want %v:\n%q", tt.name, got, tt.bars, raw)
		}
		if !tt.bars && bytes.ContainsRune(raw, '\x1b') {
			t.Errorf("%s: sequences on a dumb terminal: %q", tt.name, raw)
		}
	}
}

// onTerminal gives all that do wrote to a terminal.
func onTerminal(t *testing.T, do func(terminal *os.File)) []byte {
	t.Helper()
	person, terminal := openTerminal(t)
	read := make(chan []byte)
	go func() {
		raw, err := io.ReadAll(person)
		if !errors.Is(err, syscall.EIO) { // which is how a terminal says that nobody writes any more
			t.Errorf("read the terminal: %v", err)
		}
		read <- raw
	}()
	do(terminal)
	_ = terminal.Close()
	return <-read
}
