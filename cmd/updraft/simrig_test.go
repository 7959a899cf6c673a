package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// watched is an output that can be waited for.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced with each write
}

func newWatched() *watched { return &watched{more: make(chan struct{})} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.more)
	w.more = make(chan struct{})
	return w.text.Write(p)
}

func (w *watched) look() (string, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String(), w.more
}

// want waits until a text has been written.
func (w *watched) want(t *testing.T, text string) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		have, more := w.look()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("%q was not written, but:\n%s", text, have)
		}
	}
}

// call is a command that runs in this process.
type call struct {
	stdout, stderr *watched
	stop           func() // as a signal does
	ended          chan int
}

func begin(t *testing.T, args ...string) *call {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	c := &call{stdout: newWatched(), stderr: newWatched(), stop: func() { cancel(errInterrupted) }, ended: make(chan int, 1)}
	p := &program{stdin: strings.NewReader(""), stdout: c.stdout, stderr: c.stderr}
	root := p.root()
	root.SetArgs(args)
	go func() {
		cmd, err := root.ExecuteContextC(ctx)
		if err != nil && !p.entered {
			err = &usageError{cmd: cmd.CommandPath(), err: err}
		}
		c.ended <- p.finish(err)
	}()
	t.Cleanup(c.stop)
	return c
}

// end waits for the end, which must have this exit code.
func (c *call) end(t *testing.T, code int) (stdout, stderr string) {
	t.Helper()
	select {
	case got := <-c.ended:
		stdout, _ = c.stdout.look()
		stderr, _ = c.stderr.look()
		if got != code {
			t.Fatalf("exit code %d, want %d\n%s\n%s", got, code, stdout, stderr)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the command does not end")
	}
	return stdout, stderr
}

// noGoroutines fails if something of the simulator is left.
func noGoroutines(t *testing.T) {
	t.Helper()
	var left []string
	for range 400 {
		buf := make([]byte, 1<<20)
		left = slices.DeleteFunc(strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:], func(g string) bool {
			return !strings.Contains(g, "cloudsim") && !strings.Contains(g, "mochi")
		})
		if len(left) == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond) // goroutines that have nothing left to do end by themselves
	}
	t.Errorf("goroutines left:\n%s", strings.Join(left, "\n\n"))
}

// toy is a device that does what the test says.
type toy struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	next uint16

	early [][]byte // messages that came before they were waited for
}

func field(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

// connected is a device that was let in and listens to its delta.
func connected(t *testing.T, conn net.Conn, id string) *toy {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	d := &toy{t: t, conn: conn, in: bufio.NewReader(conn)}
	d.send(0x10, "\x00\x04MQTT\x04\x02\x00\x3c"+field(id))
	if kind, body := d.packet(); kind != 2 || body[1] != 0 {
		t.Fatalf("packet %d %q, want CONNACK 0", kind, body)
	}
	d.send(0x82, "\x00\x01"+field("state/"+id+"/update/delta")+"\x01")
	kind, body := d.packet()
	for ; kind == 3; kind, body = d.packet() { // a delta may come before the answer
		d.early = append(d.early, body)
	}
	if kind != 9 || body[2] != 1 {
		t.Fatalf("packet %d %q, want SUBACK 1", kind, body)
	}
	d.next = 1
	return d
}

func (d *toy) send(head byte, body string) {
	d.t.Helper()
	length := binary.AppendUvarint(nil, uint64(len(body))) // the same form as MQTT's
	if _, err := d.conn.Write(append(append([]byte{head}, length...), body...)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *toy) packet() (kind byte, body []byte) {
	d.t.Helper()
	if err := d.conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		d.t.Fatal(err)
	}
	head, err := d.in.ReadByte()
	if err != nil {
		d.t.Fatal(err)
	}
	length, err := binary.ReadUvarint(d.in)
	if err != nil {
		d.t.Fatal(err)
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(d.in, body); err != nil {
		d.t.Fatal(err)
	}
	return head >> 4, body
}

// delta waits for the state of the next delta that names a job, and acknowledges it.
func (d *toy) delta(job string) map[string]any {
	d.t.Helper()
	for {
		kind, body := byte(3), []byte(nil)
		if len(d.early) > 0 {
			body, d.early = d.early[0], d.early[1:]
		} else if kind, body = d.packet(); kind != 3 {
			continue
		}
		topic := 2 + int(binary.BigEndian.Uint16(body))
		d.send(0x40, string(body[topic:topic+2]))
		var m struct{ State map[string]any }
		if err := json.Unmarshal(body[topic+2:], &m); err != nil {
			d.t.Fatal(err)
		}
		if m.State["jobID"] == job {
			return m.State
		}
	}
}

// report publishes reported members.
func (d *toy) report(id, token string, members map[string]any) {
	d.t.Helper()
	payload, err := json.Marshal(map[string]any{"state": map[string]any{"reported": members}, "clientToken": token})
	if err != nil {
		d.t.Fatal(err)
	}
	d.next++
	d.send(0x32, field("state/"+id+"/update")+string(binary.BigEndian.AppendUint16(nil, d.next))+string(payload))
}

func decoded[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// simulator is one that runs in this process, in a folder of its own.
type simulator struct {
	*call
	plane string
	at    cloudsim.Endpoints
	state string
}

func startSim(t *testing.T, state string, more ...string) *simulator {
	t.Helper()
	s := &simulator{call: begin(t, append([]string{"sim", "awsiot", "--state", state, "--json"}, more...)...), plane: "awsiot", state: state}
	s.stdout.want(t, "\n")
	text, _ := s.stdout.look()
	line, _, _ := strings.Cut(text, "\n")
	s.at = decoded[cloudsim.Endpoints](t, line)
	return s
}

// sub is a command that drives the simulator.
func (s *simulator) sub(t *testing.T, args ...string) *call {
	t.Helper()
	return begin(t, slices.Concat([]string{"sim", s.plane}, args, []string{"--state", s.state})...)
}

func (s *simulator) device(t *testing.T, id string) *toy {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.at.Broker, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	return connected(t, conn, id)
}
