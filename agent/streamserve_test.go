package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// open lets everybody in.
type open struct{ mochi.HookBase }

func (*open) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*open) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*open) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

// jobCloud is a broker behind which thing gw-1 has one job and one stream.
type jobCloud struct {
	t       *testing.T
	broker  *mochi.Server
	address string
	asked   chan packets.Packet // requests; the broker waits for none
	done    chan struct{}       // closed at the end
	work    sync.WaitGroup

	mu       sync.Mutex
	shelf    *shelf
	r        *rand.Rand
	document map[string]any
	status   string
	details  map[string]string
	version  int
	lose     int // blocks that are still to be lost
	cutAt    int // after so many requests for blocks the connection ends once, 0: never
	muteAt   int // after so many requests for blocks there is no answer, 0: never
	loud     []string
}

func newJobCloud(t *testing.T, data []byte, document map[string]any) *jobCloud {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &jobCloud{t: t, address: listener.Addr().String(), asked: make(chan packets.Packet, 1000), done: make(chan struct{}), shelf: &shelf{data: data},
		r: rand.New(rand.NewPCG(1, 2)), document: document, status: "QUEUED", version: 1}
	c.broker = mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err := errors.Join(c.broker.AddHook(new(open), nil), c.broker.AddListener(listeners.NewNet("tcp", listener)), c.broker.Serve(),
		c.broker.Subscribe("$aws/things/gw-1/#", 1, func(_ *mochi.Client, _ packets.Subscription, p packets.Packet) {
			select {
			case c.asked <- p.Copy(false):
			case <-c.done:
			}
		})); err != nil {
		t.Fatal(err)
	}
	c.work.Go(func() {
		for {
			select {
			case p := <-c.asked:
				c.answer(p.TopicName, p.Payload)
			case <-c.done:
				return
			}
		}
	})
	t.Cleanup(func() {
		if err := c.broker.Close(); err != nil {
			t.Error(err)
		}
		close(c.done)
		c.work.Wait()
	})
	return c
}

func (c *jobCloud) send(topic string, payload []byte) {
	if err := c.broker.Publish(topic, payload, false, 1); err != nil {
		c.t.Error(err)
	}
}

func (c *jobCloud) answer(topic string, payload []byte) {
	if strings.HasSuffix(topic, "/accepted") || strings.HasSuffix(topic, "notify-next") || strings.HasSuffix(topic, "/data/json") || strings.HasSuffix(topic, "/description/json") || strings.HasSuffix(topic, "/rejected/json") {
		return // its own
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.HasPrefix(topic, streamOfTest) {
		c.stream(topic, payload)
		return
	}
	var q struct {
		ClientToken   string
		Status        string
		StatusDetails map[string]string
	}
	if err := json.Unmarshal(payload, &q); err != nil {
		c.t.Errorf("%s: %s: %v", topic, payload, err)
	}
	body := map[string]any{"clientToken": q.ClientToken, "timestamp": 1}
	if strings.HasSuffix(topic, "/update") {
		c.status, c.details, c.version = q.Status, q.StatusDetails, c.version+1
		body["executionState"] = map[string]any{"status": c.status, "versionNumber": c.version}
	} else if c.status == "QUEUED" || c.status == "IN_PROGRESS" || strings.HasSuffix(topic, "/j-1/get") {
		body["execution"] = map[string]any{"jobId": "j-1", "status": c.status, "versionNumber": c.version, "executionNumber": 1, "jobDocument": c.document}
	}
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Error(err)
	}
	c.send(topic+"/accepted", text)
}

// stream answers a request for blocks, out of order and not all of them.
func (c *jobCloud) stream(topic string, payload []byte) {
	out := c.shelf.answer(topic, payload)
	n := len(c.shelf.asked)
	if c.muteAt > 0 && n > c.muteAt {
		return
	}
	c.r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for _, m := range out {
		if c.lose > 0 && strings.HasSuffix(m[0], "/data/json") && c.r.IntN(20) == 0 {
			c.lose--
			continue
		}
		c.send(m[0], []byte(m[1]))
	}
	if c.cutAt > 0 && n >= c.cutAt {
		c.cutAt = 0
		if client, ok := c.broker.Clients.Get("gw-1"); ok {
			client.Stop(errors.New("cut"))
		}
	}
}

// state gives what the cloud knows of the job.
func (c *jobCloud) state() (status string, details map[string]string, asked [][2]int64, wrong []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status, c.details, c.shelf.asked, c.shelf.wrong
}

// until waits for something that the cloud sees.
func (c *jobCloud) until(what string, ok func() bool) {
	c.t.Helper()
	for range 4500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t.Fatalf("%s did not come; status %s %v, asked %v\n%s", what, c.status, c.details, c.shelf.asked, strings.Join(c.loud, "\n"))
}

// terminal waits for the end of the job.
func (c *jobCloud) terminal() (status string, details map[string]string) {
	c.t.Helper()
	c.until("the end of the job", func() bool {
		status, details, _, _ = c.state()
		return status != "QUEUED" && status != "IN_PROGRESS"
	})
	return status, details
}

// thing writes the files of a device that answers the cloud's jobs.
func (c *jobCloud) thing() (dir string) {
	dir = c.t.TempDir()
	for name, text := range map[string]string{
		"app.conf": "the old one",
		"device.yaml": `
apiVersion: updraft/v1
kind: Device
targets: {config: {file: app.conf}}
trust: {require: sha256}
`,
		"update.yaml": `
apiVersion: updraft/v1
kind: Workflow
name: update
inputs: {url: {type: string}, size: {type: int}, sha256: {type: string}}
steps:
  - {id: image, fetch: {url: "${{ inputs.url }}", size: "${{ inputs.size }}", sha256: "${{ inputs.sha256 }}"}, retry: {max: 3, backoff: 1s}}
  - {id: write, install: {artifacts: {image: image}, targets: {out: {target: config}}}}
`,
		"agent.yaml": fmt.Sprintf(`
apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes: {aws: {dialect: awsjobs, url: "tcp://%s", id: gw-1}}
commands: {aws: {workflow: update.yaml}}
`, c.address)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	return dir
}

// serve runs the agent until stop.
func (c *jobCloud) serve(dir string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := Serve(ctx, ServeConfig{File: filepath.Join(dir, "agent.yaml"), Restart: device.RestartSimulate, Log: func(text string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.loud = append(c.loud, text)
		}})
		ended <- err
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			c.t.Errorf("serve ended with %v", err)
		}
	})
	c.t.Cleanup(stop)
	return stop
}

// image gives bytes and a job document that names them in the stream.
func image(size int) ([]byte, map[string]any) {
	data := bytes.Repeat([]byte("a line of an image that is not very new\n"), size/40+1)[:size]
	return data, map[string]any{"stream": "s-1", "file": 3, "size": size, "sha256": fmt.Sprintf("%x", sha256.Sum256(data))}
}

// TestServeFetchesAStream: a job's file comes over the connection of the plane,
// although blocks are lost and out of order, and the connection ends once.
func TestServeFetchesAStream(t *testing.T) {
	data, document := image(700_000)
	c := newJobCloud(t, data, document)
	c.lose, c.cutAt = 2, 3
	dir := c.thing()
	stop := c.serve(dir)
	status, details := c.terminal()
	if status != "SUCCEEDED" {
		t.Fatalf("the job ended %s %v\n%s", status, details, strings.Join(c.loud, "\n"))
	}
	if got, err := os.ReadFile(filepath.Join(dir, "app.conf")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes are there, %v; want %d", len(got), err, len(data))
	}
	if _, _, _, wrong := c.state(); len(wrong) > 0 {
		t.Errorf("asked what nobody may ask: %q", wrong[0])
	}
	c.until("the end of the subscriptions", func() bool {
		client, ok := c.broker.Clients.Get("gw-1")
		if !ok {
			return false
		}
		for topic := range client.State.Subscriptions.GetAll() {
			if strings.HasPrefix(topic, streamOfTest) {
				return false
			}
		}
		return true
	})
	stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lose > 0 || c.cutAt > 0 {
		t.Errorf("%d blocks were not lost, the cut at %d did not happen", c.lose, c.cutAt)
	}
	for _, text := range c.loud {
		if strings.Contains(text, "ignored") {
			t.Errorf("the dialect saw what is the stream's: %s", text)
		}
	}
}

// TestServeResumesAStream: an agent that is stopped goes on with the bytes that it has.
func TestServeResumesAStream(t *testing.T) {
	data, document := image(3 << 20)
	c := newJobCloud(t, data, document)
	c.muteAt = 18 // requests of 128 KiB
	dir := c.thing()
	stop := c.serve(dir)
	c.until("half of the stream", func() bool { _, _, asked, _ := c.state(); return len(asked) > c.muteAt })
	stop()
	c.mu.Lock()
	before := len(c.shelf.asked)
	c.muteAt = 0
	c.mu.Unlock()
	c.serve(dir)
	if status, details := c.terminal(); status != "SUCCEEDED" {
		t.Fatalf("the job ended %s %v", status, details)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "app.conf")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes are there, %v; want %d", len(got), err, len(data))
	}
	_, _, asked, _ := c.state()
	if first := asked[before][0]; first < 1<<20 {
		t.Errorf("the second agent asks from byte %d on, want it to go on behind 1 MiB", first)
	}
}

// TestServeTellsWhyAStreamFails: the cloud hears its own word, and that of the digest.
func TestServeTellsWhyAStreamFails(t *testing.T) {
	for _, tt := range []struct {
		name, refuse, says string
		change             func(document map[string]any)
	}{
		{name: "no stream", refuse: "ResourceNotFound", says: "ResourceNotFound no such stream"},
		{name: "no block", refuse: "InvalidRequest", says: "InvalidRequest no"},
		{name: "no file", says: "stream s-1 has no file 9", change: func(d map[string]any) { d["file"] = 9 }},
		{name: "another digest", says: "sha256", change: func(d map[string]any) { d["sha256"] = strings.Repeat("0", 64) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, document := image(9000)
			if tt.change != nil {
				tt.change(document)
			}
			c := newJobCloud(t, data, document)
			c.shelf.refuse = tt.refuse
			dir := c.thing()
			c.serve(dir)
			status, details := c.terminal()
			if text := fmt.Sprint(details); status != "FAILED" || !strings.Contains(text, tt.says) {
				t.Errorf("the job ended %s %s, want FAILED with %q", status, text, tt.says)
			}
			if got, err := disk.ReadFile(disk.OS(), filepath.Join(dir, "app.conf"), 100); err != nil || string(got) != "the old one" {
				t.Errorf("the device has %q, %v", got, err)
			}
		})
	}
}

// TestServeCancelsAStream: a job that its owner cancels ends although the stream says nothing.
func TestServeCancelsAStream(t *testing.T) {
	data, document := image(700_000)
	c := newJobCloud(t, data, document)
	c.muteAt = 2
	dir := c.thing()
	c.serve(dir)
	c.until("some of the stream", func() bool { _, _, asked, _ := c.state(); return len(asked) > c.muteAt })
	c.mu.Lock()
	c.status, c.version = "CANCELED", c.version+1
	c.mu.Unlock()
	begin := time.Now()
	c.send("$aws/things/gw-1/jobs/notify-next", []byte(`{"execution":{},"timestamp":1}`))
	c.until("the end of the run", func() bool {
		st, err := engine.ReadStatus(disk.OS(), filepath.Join(dir, ".updraft"))
		return err == nil && st.State == string(engine.Cancelled)
	})
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("it took %v, want a second or two", took)
	}
	if got, err := disk.ReadFile(disk.OS(), filepath.Join(dir, "app.conf"), 100); err != nil || string(got) != "the old one" {
		t.Errorf("the device has %q, %v", got, err)
	}
}
