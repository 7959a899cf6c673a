package process

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

var (
	agentKills = flag.Int("agent-kills", 10, "how many agents to kill")
	simKills   = flag.Int("sim-kills", 3, "how many simulators to kill")
	agents     = flag.Int("agents", 4, "how many agents at once")
	seed       = flag.Uint64("seed", 0, "of the moments of TestAgentKill, 0 for a new one")
)

// TestAgentKill kills agents and their cloud at random moments, while one
// acknowledgement in three is lost, both ways. Some jobs are asked for by two
// planes at once. Each job must come to one end at the cloud, the true one, with
// one report, and must have been done once.
func TestAgentKill(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	y := &killing{f: newSwarm(t, 64<<10), due: make(chan bool, *simKills), hit: map[string]int{}}
	if err := y.f.start(y.faults()...); err != nil {
		t.Fatal(err)
	}
	broker := y.f.broker(t)
	began := time.Now()
	var work, cloud sync.WaitGroup
	var units []*unit
	for i := range *agents {
		u := y.f.unit(t, fmt.Sprintf("gw-%d", i), broker)
		u.write(t, "agent.yaml", fmt.Sprintf(twoPlanes, broker, u.name, broker, u.owner()), 0o600)
		units = append(units, u)
		work.Go(func() {
			if err := y.life(t.Context(), u, rand.New(rand.NewPCG(*seed, uint64(i)))); err != nil {
				t.Errorf("%s: %v", u.name, err)
			}
		})
	}
	cloud.Go(func() {
		if err := y.outages(rand.New(rand.NewPCG(*seed, 1<<32))); err != nil {
			t.Error(err)
		}
	})
	work.Wait()
	close(y.due)
	cloud.Wait()
	if !t.Failed() && (int(y.killed.Load()) != *agentKills || y.clouds != *simKills) {
		t.Errorf("%d agents and %d simulators were killed, want %d and %d", y.killed.Load(), y.clouds, *agentKills, *simKills)
	}
	jobs, arrivals := 0, 0
	for _, u := range units {
		n, m := y.count(t, u)
		jobs, arrivals = jobs+n, arrivals+m
	}
	t.Logf("%d kills of %d agents and %d of their cloud in %v: %d jobs, of which %d joined and %d were rolled back; %d arrivals of their reports",
		y.killed.Load(), len(units), y.clouds, time.Since(began).Round(time.Second), jobs, y.joined, y.sick.Load(), arrivals)
	for _, where := range slices.Sorted(maps.Keys(y.hit)) {
		t.Logf("  %-16s %4d %s", where, y.hit[where], strings.Repeat("#", y.hit[where]*60/max(*agentKills, 1)))
	}
}

// twoPlanes is an agent file for two ids at the same broker.
const twoPlanes = `apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes:
  maker: {dialect: awsiot, url: "%s", id: %s, keepAlive: 2s, answerTimeout: 2s}
  owner: {dialect: awsiot, url: "%s", id: %s, keepAlive: 2s, answerTimeout: 2s}
commands:
  maker: {workflow: update.yaml, whenBusy: wait}
  owner: {workflow: update.yaml, whenBusy: wait}
`

// owner is the device's other id.
func (u *unit) owner() string { return "owner-" + u.name }

// killing is one run of the test.
type killing struct {
	f      *swarm
	aimed  atomic.Int64 // kills that were given out
	killed atomic.Int64
	due    chan bool // one for each simulator that is to die
	clouds int
	joined int // jobs whose report is not the first of its run
	sick   atomic.Int64

	mu  sync.Mutex
	hit map[string]int
}

// faults of each simulator. The downloads take a second.
func (y *killing) faults() []cloudsim.Fault {
	return []cloudsim.Fault{{Kind: cloudsim.FaultLostPuback, Every: 3}, {Kind: cloudsim.FaultSlow, Rate: 64 << 10}}
}

// outages kills the simulator as often as it is due.
func (y *killing) outages(r *rand.Rand) error {
	for range y.due {
		time.Sleep(time.Duration(r.Int64N(int64(time.Second)))) // the moment
		y.f.sim.kill()
		y.clouds++
		time.Sleep(time.Duration(r.Int64N(int64(time.Second)))) // the outage
		if err := y.f.start(y.faults()...); err != nil {
			return err
		}
	}
	return nil
}

// aim gives out a kill, if there is one left. For every so many the simulator
// is to die too.
func (y *killing) aim() bool {
	n := y.aimed.Add(1)
	if n > int64(*agentKills) {
		return false
	}
	for i := range int64(*simKills) {
		if n == (i+1)*int64(*agentKills)/int64(*simKills) {
			y.due <- true
		}
	}
	return true
}

// life is that of a device: job after job, until nobody is to be killed any more, and one in peace.
func (y *killing) life(ctx context.Context, u *unit, r *rand.Rand) (err error) {
	p, err := u.agent()
	if err != nil {
		return err
	}
	defer func() {
		if p.kill(); err != nil {
			err = fmt.Errorf("%w\nthe last agent said\n%s", err, p.text())
		}
	}()
	have := []byte("the image from the factory")
	versions := slices.Sorted(maps.Keys(y.f.images))
	version, last := "", false
	for n := 0; !last; n++ {
		job := fmt.Sprintf("job-%d", n)
		version = versions[(slices.Index(versions, version)+1+r.IntN(len(versions)-1))%len(versions)] // another one
		ids := []string{u.name, u.owner()}[:1+r.IntN(2)]
		for _, id := range ids {
			if err := u.desire(ctx, id, job, version); err != nil {
				return err
			}
		}
		for more := true; more && !last; more = r.IntN(3) == 0 {
			if last = !y.aim(); last {
				break
			}
			if p, err = y.kill(u, p, time.Duration(r.Int64N(int64(2500*time.Millisecond)))); err != nil {
				return err
			}
		}
		want := "SUCCESS"
		if strings.HasSuffix(version, "-sick") {
			want = "FAILURE"
			y.sick.Add(int64(len(ids)))
		} else {
			have = y.f.images[version]
		}
		for _, id := range ids {
			limit, cancel := context.WithTimeout(ctx, 3*time.Minute)
			end, err := u.end(limit, id, job)
			if cancel(); err != nil {
				return err
			}
			if end.Result != want || want == "FAILURE" && end.Code != "probe" {
				return fmt.Errorf("%s of %s to %s ends with %s, %s, %s, want %s", job, id, version, end.Result, end.Code, end.Message, want)
			}
		}
		if err := u.holds(have); err != nil {
			return fmt.Errorf("%s to %s, %s: %w", job, version, want, err)
		}
	}
	return y.rest(u, p)
}

// kill kills an agent after a while, notes what it was doing, and starts it again.
func (y *killing) kill(u *unit, p *process, after time.Duration) (*process, error) {
	select {
	case <-time.After(after):
	case <-p.ended:
		return p, fmt.Errorf("the agent ended by itself with %d", p.cmd.ProcessState.ExitCode())
	}
	p.kill()
	y.killed.Add(1)
	y.mu.Lock()
	y.hit[u.doing()]++
	y.mu.Unlock()
	return u.agent()
}

// doing reads from the events what the agent was doing.
func (u *unit) doing() string { return doing(u.dir) }

// doing reads from the events in a device's folder what its agent was doing.
func doing(dir string) string {
	where := "idle"
	for _, e := range (&box{dir: dir}).lastEvents(100) {
		switch {
		case e.Kind == "run" && e.State == "accepted":
			where = "accepted"
		case e.Kind == "step" && e.Step == "write" && e.State == "begin":
			where = "fetch and write"
		case e.Kind == "step" && e.Step == "prove" && e.State == "begin":
			where = "prove"
		case e.Kind == "run" && (e.State == "succeeded" || e.State == "rolled_back"):
			where = "report"
		case e.Kind == "report" && e.State != "undelivered":
			where = "idle"
		}
	}
	return where
}

// rest waits until the device owes no report, and stops its agent.
func (y *killing) rest(u *unit, p *process) error {
	for limit := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		status, err := spawn(y.f.bin, u.dir, "updraft-agent", "status", "--config", "agent.yaml", "--json")
		if err != nil {
			return err
		}
		<-status.ended
		if text := status.text(); strings.Contains(text, `"planes"`) && !strings.Contains(text, `"reports"`) {
			break
		} else if time.Now().After(limit) {
			return fmt.Errorf("it still owes a report: %s", text)
		}
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		return fmt.Errorf("it does not stop")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("it stops with %d, want 0", code)
	}
	return nil
}

// count holds what the cloud and the device know of the jobs to once each, and
// gives how many jobs there were, and how often their reports arrived.
func (y *killing) count(t *testing.T, u *unit) (jobs, arrivals int) {
	t.Helper()
	st, err := y.f.cloud().State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reports := map[string]bool{}
	for _, id := range []string{u.name, u.owner()} {
		seen := map[string]int{}
		for _, e := range st.Devices[id].Ends {
			jobs++
			arrivals += e.Arrivals
			seen[e.Job]++
			reports[e.Report] = true
			if !strings.HasSuffix(e.Report, ".0") {
				y.joined++
			}
			if seen[e.Job] > 1 || e.Report == "" || e.Arrivals < 1 {
				t.Errorf("%s: end %d of %s, report %q, %s %s, arrived %d times: want one end, one report, at least one arrival", id, seen[e.Job], e.Job, e.Report, e.Result, e.Code, e.Arrivals)
			}
		}
	}
	if len(reports) != jobs {
		t.Errorf("%s: %d reports of %d jobs", u.name, len(reports), jobs)
	}
	// The device's own file has each report too, and knows of nothing else.
	own, err := u.told("reports.ndjson", func(m map[string]any) string { return fmt.Sprint(m["id"]) })
	if err != nil || len(own) != jobs {
		t.Errorf("%s: %d reports in its own file, %v; want %d", u.name, len(own), err, jobs)
	}
	for id := range own {
		if !reports[id] {
			t.Errorf("%s: report %s is not at the cloud", u.name, id)
		}
	}
	// A run has the same id each time it is begun with the same job.
	runs, err := u.told(filepath.Join(".updraft", "events.ndjson"), func(m map[string]any) string {
		if m["kind"] == "run" && m["state"] == "accepted" {
			return fmt.Sprint(m["run"])
		}
		return ""
	})
	if err != nil || len(runs) > jobs {
		t.Errorf("%s: %d runs were accepted, %v; want at most one for each of %d jobs", u.name, len(runs), err, jobs)
	}
	for run, times := range runs {
		if times > 1 {
			t.Errorf("%s: run %s was begun %d times", u.name, run, times)
		}
	}
	return jobs, arrivals
}
