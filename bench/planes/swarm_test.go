package planes

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/control/poll"
	"github.com/updraft-ota/updraft/engine"
)

var swarmSize = flag.Int("swarm", 40, "how many devices of each plane")

const (
	pushWithin = 60 * time.Second // from the push to the last end
	fileSize   = 16 << 10         // bytes
	downloads  = 128              // at once
)

// TestSwarm has one push update all devices of a simulator, for each cloud.
// Simulator and devices are in this process.
func TestSwarm(t *testing.T) {
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		t.Logf("load before: %s", bytes.TrimSpace(load))
	}
	for _, p := range planes() {
		t.Run(p.name, func(t *testing.T) {
			s := newSwarm(t, p, *swarmSize)
			var f figures
			f.connect = s.connect(t)
			f.order, f.update = s.push(t)
			f.measure(t)
			s.check(t)
			t.Logf("| %s | %d | %.1f s | %.1f s | %.1f s | %d MiB | %d MiB |", p.name, len(s.devices),
				f.connect.Seconds(), f.order.Seconds(), f.update.Seconds(), f.peak>>20, f.heap>>20)
		})
	}
}

// swarm is a simulator with its devices.
type swarm struct {
	p       plane
	sim     *cloudsim.Sim
	file    string
	content []byte
	client  *http.Client
	devices []*device
	ended   chan string // devices, at the first report of an end

	mu     sync.Mutex
	seen   map[string]bool
	faults []error
}

func newSwarm(t *testing.T, p plane, n int) *swarm {
	t.Helper()
	s := &swarm{p: p, file: cmp.Or(p.file, "v2.bin"), content: make([]byte, fileSize), ended: make(chan string, n), seen: map[string]bool{},
		client: &http.Client{Transport: &http.Transport{MaxConnsPerHost: downloads, MaxIdleConnsPerHost: downloads}}}
	_, _ = rand.NewChaCha8([32]byte{}).Read(s.content)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, s.file), s.content, 0o600); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("gw-%04d", i))
		s.devices = append(s.devices, &device{p: p, name: names[i], update: s.update})
	}
	// So many polls a second are no trouble yet.
	cloud, err := p.cloud(p.accounts(names), max(time.Second, time.Duration(n/200)*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	forgetPeak(t)
	if s.sim, err = cloudsim.Start(cloudsim.Config{State: t.TempDir(), Files: folder, Events: s.event}, cloud); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.sim.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
		s.client.CloseIdleConnections()
	})
	return s
}

// event counts the devices that have an end.
func (s *swarm) event(e cloudsim.Event) {
	switch {
	case e.Kind == cloudsim.EventRefused:
		s.fail(fmt.Errorf("%s was refused: %s", e.Client, e.Text))
	case e.Kind == cloudsim.EventReport && !s.seen[e.Client]: // one event at a time
		s.seen[e.Client] = true
		s.ended <- e.Client
	}
}

func (s *swarm) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, err)
}

// update is what the engine of a device does with a command.
func (s *swarm) update(d *device, c control.Command) {
	if err := d.fetch(s.client, c, s.content); err != nil {
		s.fail(fmt.Errorf("%s: %w", d.name, err))
		d.end(c, engine.Failed, "fetch")
		return
	}
	d.end(c, engine.Succeeded, "")
}

// connect starts all devices at once and waits until the cloud knows them.
func (s *swarm) connect(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for _, d := range s.devices {
		if err := d.connect(s.sim.Endpoints(), mqtt.Config{}, poll.Config{Spread: -1}); err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			_ = d.run(ctx) // ends with ctx
			d.work.Wait()
		})
	}
	s.each(t, "is connected and known", func(d *device) bool {
		ready, _, _ := d.status()
		if !ready || s.p.known == nil {
			return ready
		}
		r, _ := s.sim.Book().Look(d.name)
		return s.p.known(string(r.Doc))
	})
	return time.Since(began)
}

// each waits until something is true of every device.
func (s *swarm) each(t *testing.T, what string, ok func(*device) bool) {
	t.Helper()
	limit := time.Now().Add(pushWithin)
	for _, d := range s.devices {
		for !ok(d) {
			if time.Now().After(limit) {
				_, _, logs := d.told()
				_, _, err := d.status()
				t.Fatalf("never: %s %s; its link: %v; it says %q", d.name, what, err, logs)
			}
			time.Sleep(2 * time.Millisecond) // nothing tells of it
		}
	}
}

// push gives the one order, and waits for the last end.
func (s *swarm) push(t *testing.T) (order, update time.Duration) {
	t.Helper()
	began := time.Now()
	limit := time.After(pushWithin)
	done, err := s.sim.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, All: true, Set: s.p.set,
		Software: cloudsim.Software{File: s.file, Version: cmp.Or(s.p.version, "2.0")}})
	if err != nil || len(done) != len(s.devices) {
		t.Fatalf("the order reached %d devices of %d: %v", len(done), len(s.devices), err)
	}
	order = time.Since(began)
	for n := range s.devices {
		select {
		case <-s.ended:
		case <-limit:
			t.Fatalf("%d of %d devices have an end after %v; first troubles: %v", n, len(s.devices), pushWithin, s.troubles())
		}
	}
	return order, time.Since(began)
}

// troubles are the first of what went wrong.
func (s *swarm) troubles() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults[:min(5, len(s.faults))]
}

// check holds each device to one run, one end and one delivery.
func (s *swarm) check(t *testing.T) {
	t.Helper()
	s.each(t, "has its report delivered", func(d *device) bool {
		_, delivered, _ := d.told()
		return len(delivered) > 0
	})
	for _, d := range s.devices {
		commands, delivered, _ := d.told()
		r, _ := s.sim.Book().Look(d.name)
		if len(r.Ends) != 1 || r.Ends[0].Outcome != cloudsim.Succeeded || len(commands) != 1 || len(delivered) != 1 {
			t.Errorf("%s had %d commands, delivered %q and ended as %+v; want one of each, succeeded", d.name, len(commands), delivered, r.Ends)
		}
	}
	if wrong := s.troubles(); len(wrong) > 0 {
		t.Errorf("troubles: %v", wrong)
	}
}
