package planes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/control/poll"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	updates = 10 // that end while the broker is away
	several = 6  // of a cloud with more than one open: further ones wait for the ends of these
)

// TestAnHourWithoutABroker: a cloud has as many updates open on a device as it
// can, the device loses the broker, and ten updates end meanwhile: these, and of
// other clouds' runs as many as are missing, of which the link sees the events. An
// hour later each end arrives once, in order; also if the device restarts meanwhile.
func TestAnHourWithoutABroker(t *testing.T) {
	open := map[string]int{"aliyunota": several, "awsiot": several}
	for _, p := range planes() {
		if p.name == "aliyunota" {
			p.dialect = manyModules
		}
		for _, restarts := range []bool{false, true} {
			name := p.name
			if restarts {
				name += ", restarted"
			}
			t.Run(name, func(t *testing.T) {
				o := newOutage(t, p)
				jobs := o.begin(cmp.Or(open[p.name], 1))
				o.hour(restarts)
				o.back(jobs)
			})
		}
	}
}

// manyModules is a device of Alibaba's OTA service that has several modules.
func manyModules(device string, _ cloudsim.Endpoints, save []byte) (control.Dialect, error) {
	versions := map[string]string{}
	for i := range several {
		versions[fmt.Sprint("m", i)] = "1.0.0"
	}
	return aliyunota.New(aliyunota.Config{Device: aliyun.Device{ProductKey: product, Name: device}, Versions: versions, Ask: true}, save)
}

// outage is one device and its cloud, on a clock that the test moves.
type outage struct {
	t     *testing.T
	p     plane
	sim   *cloudsim.Sim
	clock *disk.Virtual
	net   *network
	d     *device
	stop  func()
	ended []control.Command // own runs that have, in order
}

func newOutage(t *testing.T, p plane) *outage {
	t.Helper()
	o := &outage{t: t, p: p, clock: disk.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), net: &network{}, d: &device{p: p, name: "gw-1"}, stop: func() {}}
	o.clock.Auto = false
	folder := t.TempDir()
	for i := range updates {
		if err := os.WriteFile(filepath.Join(folder, o.file(i)), fmt.Appendf(nil, "image %d", i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cloud, err := p.cloud(p.accounts([]string{"gw-1"}), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if o.sim, err = cloudsim.Start(cloudsim.Config{State: t.TempDir(), Files: folder, Now: o.clock.Now}, cloud); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.stop()
		if err := o.sim.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	o.net.face = strings.TrimPrefix(o.sim.Endpoints().Face, "http://")
	o.start()
	return o
}

func (o *outage) version(i int) string { return fmt.Sprintf("2.0.%d", i) }

func (o *outage) file(i int) string {
	if o.p.name == "haas" {
		return fmt.Sprintf("py9000-%s-%s.tar.gz", app, o.version(i))
	}
	return fmt.Sprintf("image-%d.bin", i)
}

// start begins the life of the device's process, with what the one before saved.
func (o *outage) start() {
	o.t.Helper()
	err := o.d.connect(o.sim.Endpoints(), mqtt.Config{Clock: o.clock, Dial: o.net.dial}, poll.Config{Clock: o.clock, Dial: o.net.dial, Spread: -1})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	run := o.d.run
	go func() { ended <- run(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			o.t.Errorf("Run = %v, want the cause of its end", err)
		}
	})
}

// begin connects, and pushes updates until so many are open.
func (o *outage) begin(open int) (jobs []string) {
	o.t.Helper()
	o.eventually("connected and known", func() bool {
		ready, _, _ := o.d.status()
		r, _ := o.sim.Book().Look("gw-1")
		return ready && (o.p.known == nil || o.p.known(string(r.Doc)))
	})
	for i := range open {
		order := cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Software: cloudsim.Software{File: o.file(i), Version: o.version(i)}, Set: o.p.set}
		if o.p.name == "aliyunota" {
			order.Set = map[string]any{"module": fmt.Sprint("m", i)}
		}
		done, err := o.sim.Order(o.t.Context(), order)
		if err != nil {
			o.t.Fatal(err)
		}
		jobs = append(jobs, done[0].Job)
		o.eventually(fmt.Sprintf("command %d", i+1), func() bool { c, _, _ := o.d.told(); return len(c) > i })
	}
	return jobs
}

// hour is the outage: each six minutes an update ends.
func (o *outage) hour(restarts bool) {
	o.t.Helper()
	o.net.cut()
	o.sim.Disconnect("gw-1")
	o.eventually("the end of the connection", func() bool { _, failed, _ := o.d.status(); return failed > 0 })
	commands, _, _ := o.d.told()
	for i := range updates {
		for range 36 {
			o.pass(10 * time.Second)
		}
		if other := updates - len(commands); i < other {
			foreign(o.d, fmt.Sprint("foreign-", i))
			continue
		}
		c := commands[len(o.ended)]
		o.ended = append(o.ended, c)
		o.d.end(c, engine.Succeeded, "")
		if restarts && i == updates-1 {
			o.stop()
			o.start()
			for _, c := range o.ended { // the outbox
				o.d.end(c, engine.Succeeded, "")
			}
		}
	}
	attempts := o.net.attempts()
	r, _ := o.sim.Book().Look("gw-1")
	_, delivered, _ := o.d.told()
	if attempts < 5 || attempts > 80 || len(r.Ends) > 0 || len(delivered) > 0 {
		o.t.Errorf("%d attempts, ends %+v and deliveries %q while the broker was away; want a few attempts and nothing else", attempts, r.Ends, delivered)
	}
}

// foreign is what a link hears of another cloud's run.
func foreign(d *device, run string) {
	d.post(control.In{Kind: control.InEvent, Event: engine.Event{Run: run, Kind: engine.EventRun, State: "accepted"}})
	d.post(control.In{Kind: control.InEvent, Event: engine.Event{Run: run, Kind: engine.EventProgress, Done: 7, Total: 7}})
	d.post(control.In{Kind: control.InEvent, Event: engine.Event{Run: run, Kind: engine.EventRun, State: string(engine.Succeeded)}})
}

// back is the end of the outage.
func (o *outage) back(jobs []string) {
	o.t.Helper()
	o.net.restore()
	o.eventually("all reports delivered", func() bool { _, d, _ := o.d.told(); return len(d) >= len(jobs) })
	for range 30 { // in which nothing more is to happen
		o.pass(10 * time.Second)
	}
	var ended, reports []string
	r, _ := o.sim.Book().Look("gw-1")
	for _, e := range r.Ends {
		ended = append(ended, e.Job)
		if e.Outcome != cloudsim.Succeeded || e.Arrivals != 1 {
			o.t.Errorf("end %+v, want one arrival and succeeded", e)
		}
	}
	for _, c := range o.ended {
		reports = append(reports, "report of "+c.ID)
	}
	commands, delivered, logs := o.d.told()
	if !slices.Equal(ended, jobs) || !slices.Equal(delivered, reports) || len(commands) != len(jobs) {
		o.t.Errorf("ends of %q, deliveries %q, %d commands; want ends of %q, deliveries %q and a command each; the device says %q", ended, delivered, len(commands), jobs, reports, logs)
	}
}

// pass lets time pass, and whoever it wakes take his turn.
func (o *outage) pass(d time.Duration) {
	o.clock.Advance(d)
	time.Sleep(time.Millisecond) // real sockets and goroutines tell of nothing
}

// eventually waits for what happens on real sockets. Time passes too, and slowly
// while there is a connection: answers that are under way are not late then.
func (o *outage) eventually(what string, ok func() bool) {
	o.t.Helper()
	for n := range 4000 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
		if ready, _, _ := o.d.status(); !ready && n%5 == 4 {
			o.clock.Advance(5 * time.Second)
		} else if n%100 == 99 {
			o.clock.Advance(time.Second)
		}
	}
	_, _, logs := o.d.told()
	_, _, err := o.d.status()
	r, _ := o.sim.Book().Look("gw-1")
	o.t.Fatalf("never: %s; the link: %v; the device says %q; the cloud has %s %+v", what, err, logs, r.Doc, r.Ends)
}

// network is the way to the cloud, which can be cut.
type network struct {
	mu    sync.Mutex
	away  bool
	tries int
	face  string     // host:port of a cloud that is polled: it does not end connections
	conns []net.Conn // to it
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	n.mu.Lock()
	away := n.away
	n.tries++
	n.mu.Unlock()
	if away {
		return nil, errors.New("no route to host")
	}
	c, err := new(net.Dialer).DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if address == n.face {
		n.conns = append(n.conns, c)
	}
	return c, nil
}

// cut lets nobody through, and ends what a cloud would not.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away, n.tries = true, 0
	for _, c := range n.conns {
		_ = c.Close() // it may have ended before
	}
	n.conns = nil
}

func (n *network) restore() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = false
}

// attempts is how often somebody tried since the cut.
func (n *network) attempts() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tries
}
