package planes

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/control/poll"
	"github.com/updraft-ota/updraft/engine"
)

// device is one device: a real dialect on a real link, and the engine's side
// as the test plays it.
type device struct {
	p    plane
	name string
	// update carries out a command, in a goroutine of its own; nil leaves
	// commands to the test.
	update func(*device, control.Command)

	run    func(context.Context) error // of the link
	post   func(control.In)
	status func() (ready bool, failed int, err error)
	work   sync.WaitGroup

	mu        sync.Mutex
	commands  []control.Command
	delivered []string
	save      []byte
	logs      []string
}

// connect makes the link, of which run is the life.
func (d *device) connect(at cloudsim.Endpoints, of mqtt.Config, by poll.Config) error {
	d.mu.Lock()
	save := bytes.Clone(d.save)
	d.mu.Unlock()
	dialect, err := d.p.dialect(d.name, at, save)
	if err != nil {
		return err
	}
	if d.p.login == nil {
		by.Authorize = func(string) (string, error) { return d.authorization() }
		l, err := poll.New(by, dialect, d)
		if err != nil {
			return err
		}
		d.run, d.post = l.Run, l.Post
		d.status = func() (bool, int, error) { s := l.Status(); return s.Ready, s.Attempts, s.Err }
		return nil
	}
	of.URL, of.PlainRequests = at.Broker, true
	of.Login = func(now time.Time) (mqtt.Login, error) { return d.p.login(d.name, now) }
	l, err := mqtt.New(of, dialect, d)
	if err != nil {
		return err
	}
	d.run, d.post = l.Run, l.Post
	d.status = func() (bool, int, error) { s := l.Status(); return s.Ready, s.Attempts, s.Err }
	return nil
}

// authorization is how a device that polls shows who it is.
func (d *device) authorization() (string, error) {
	return hawkbit.Authorization(hawkbit.TargetToken, []byte(d.p.secret(d.name)))
}

// Command takes it: the same id is the same run.
func (d *device) Command(_ context.Context, c control.Command, answer func(control.In)) {
	d.mu.Lock()
	known := slices.ContainsFunc(d.commands, func(have control.Command) bool { return have.ID == c.ID })
	if !known {
		d.commands = append(d.commands, c)
	}
	d.mu.Unlock()
	if known {
		answer(control.In{Receipt: engine.Receipt{Answer: engine.Joined, Run: run(c)}})
		return
	}
	answer(control.In{Receipt: engine.Receipt{Answer: engine.Accepted, Run: run(c)}})
	if d.update != nil {
		d.work.Go(func() { d.update(d, c) })
	}
}

// run is the id of a command's run.
func run(c control.Command) string { return "run of " + c.ID }

// Cancel is not asked for by these tests.
func (d *device) Cancel(context.Context, string) {}

// Delivered notes that the cloud has a report.
func (d *device) Delivered(_ context.Context, report string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delivered = append(d.delivered, report)
}

// Save keeps the dialect's state.
func (d *device) Save(_ context.Context, state []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.save = bytes.Clone(state)
	return nil
}

// Log keeps the last lines.
func (d *device) Log(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logs = append(d.logs[max(0, len(d.logs)-20):], line)
}

// told gives what was commanded and delivered so far, and the last lines for people.
func (d *device) told() (commands []control.Command, delivered, logs []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.commands), slices.Clone(d.delivered), slices.Clone(d.logs)
}

// end tells the end of a command's run.
func (d *device) end(c control.Command, state engine.EndState, code string) {
	d.post(control.In{Kind: control.InReport, Report: engine.Report{ID: "report of " + c.ID, Run: run(c), Command: c.ID, State: state, Code: code}})
}

// fetch downloads what a command tells of, and holds it to the digest there.
// Where a cloud tells none the bytes must be those that the test wants.
func (d *device) fetch(client *http.Client, c control.Command, want []byte) (err error) {
	req, err := http.NewRequest(http.MethodGet, c.Inputs["url"], nil)
	if err != nil {
		return err
	}
	if d.p.login == nil {
		shown, err := d.authorization()
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", shown)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", len(data), err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the file is answered %s", res.Status)
	}
	sum, old := sha256.Sum256(data), md5.Sum(data)
	switch {
	case c.Inputs["sha256"] != "" && c.Inputs["sha256"] != hex.EncodeToString(sum[:]):
		return fmt.Errorf("the SHA-256 of what came is not %s", c.Inputs["sha256"])
	case c.Inputs["md5"] != "" && c.Inputs["md5"] != hex.EncodeToString(old[:]):
		return fmt.Errorf("the MD5 of what came is not %s", c.Inputs["md5"])
	case !bytes.Equal(data, want):
		return fmt.Errorf("%d bytes came that are not those of the file", len(data))
	}
	d.post(control.In{Kind: control.InEvent, Event: engine.Event{Run: run(c), Kind: engine.EventProgress, Done: int64(len(data)), Total: int64(len(data))}})
	return nil
}
