package process

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

var (
	planeKills    = flag.Int("plane-kills", 2, "how many agents of each plane to kill")
	planeSimKills = flag.Int("plane-sim-kills", 1, "how many simulators of each plane to kill")
	onlyPlanes    = flag.String("planes", "", "planes to test, with commas; all if empty")
)

// planesToTest are those of the flag.
func planesToTest() []cloudPlane {
	return slices.DeleteFunc(allPlanes(), func(p cloudPlane) bool {
		return *onlyPlanes != "" && !slices.Contains(strings.Split(*onlyPlanes, ","), p.name)
	})
}

// TestPlanes has each cloud's simulator and an agent, two processes, carry out
// the default workflow of examples/planes: one update that goes well, one whose
// system is sick and is rolled back, one whose file is not what was ordered.
func TestPlanes(t *testing.T) {
	for _, p := range planesToTest() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := newCloudFleet(t, p, "gw-1")
			if err := f.start(); err != nil {
				t.Fatal(err)
			}
			u := f.unit(t, "gw-1")
			agent, err := u.agent()
			if err != nil {
				t.Fatal(err)
			}
			defer agent.kill()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			have := "1.0.0"
			for _, try := range []struct {
				version string
				sick    bool
				fault   cloudsim.FaultKind
				want    cloudsim.Outcome
			}{
				{"1.0.1", false, cloudsim.FaultNone, cloudsim.Succeeded},
				{"1.0.2", true, cloudsim.FaultNone, cloudsim.Failed},
				{"1.0.3", false, cloudsim.FaultWrongHash, cloudsim.Failed},
				{"1.0.4", false, cloudsim.FaultNewURL, cloudsim.Succeeded},
			} {
				file, err := u.image(try.version, try.sick, 4<<10)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.cloud().SetFault(ctx, cloudsim.Fault{Kind: try.fault}); err != nil {
					t.Fatal(err)
				}
				software := cloudsim.Software{File: file, Version: try.version}
				if try.fault == cloudsim.FaultWrongHash && p.name == "awsiot" { // whose orders have the digests that are given, and none of a file
					software.SHA256 = strings.Repeat("0", 64)
				}
				done, err := u.order(ctx, cloudsim.Order{Verb: cloudsim.VerbPush, Software: software})
				if err != nil {
					t.Fatal(err)
				}
				end, err := u.end(ctx, done.Job)
				if err != nil {
					t.Fatalf("%v\nthe agent says\n%s\nthe simulator says\n%s", err, agent.text(), f.sim.text())
				}
				if end.Outcome != try.want {
					t.Errorf("%s ends as %+v, want %s\n%s", try.version, end, try.want, agent.text())
				}
				if try.want == cloudsim.Succeeded {
					have = try.version
				}
				if runs, err := u.running(); runs != have || err != nil {
					t.Errorf("after %s version %q runs, %v; want %s", try.version, runs, err, have)
				}
				if _, err := f.cloud().SetFault(ctx, cloudsim.Fault{Kind: cloudsim.FaultNone}); err != nil {
					t.Fatal(err)
				}
			}
			if key, err := os.ReadFile(u.dir + "/device.key"); err == nil && (strings.Contains(agent.text(), strings.TrimSpace(string(key))) || strings.Contains(f.sim.text(), strings.TrimSpace(string(key)))) {
				t.Error("the device's key is printed")
			}
		})
	}
}

// TestPlaneKill kills the agents and the simulator of each cloud at random
// moments. Each update must come to exactly one end at the cloud, the true one.
func TestPlaneKill(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	for _, p := range planesToTest() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			names := []string{"gw-0", "gw-1", "gw-2", "gw-3"}
			y := &planeKilling{f: newCloudFleet(t, p, names...), due: make(chan bool, *planeSimKills), hit: map[string]int{}}
			if err := y.f.start(y.faults()...); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var work, cloud sync.WaitGroup
			units := make([]*planeUnit, len(names))
			for i, name := range names {
				units[i] = y.f.unit(t, name)
				work.Go(func() {
					if err := y.life(t.Context(), units[i], rand.New(rand.NewPCG(*seed, uint64(i)))); err != nil {
						t.Errorf("%s: %v", name, err)
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
			if !t.Failed() && (int(y.killed.Load()) != *planeKills || y.clouds != *planeSimKills) {
				t.Errorf("%d agents and %d simulators were killed, want %d and %d", y.killed.Load(), y.clouds, *planeKills, *planeSimKills)
			}
			t.Logf("%d kills of %d agents and %d of their cloud in %v: %d updates with one true end each, %d of them rolled back; %d arrivals of their reports",
				y.killed.Load(), len(units), y.clouds, time.Since(began).Round(time.Second), y.jobs.Load(), y.sick.Load(), y.count(t, units))
			t.Logf("  killed while they did: %v", y.hit)
		})
	}
}

// planeKilling is one run of the test.
type planeKilling struct {
	f                         *cloudFleet
	aimed, killed, jobs, sick atomic.Int64
	due                       chan bool // one for each simulator that is to die
	clouds                    int

	mu    sync.Mutex
	wants map[string]cloudsim.Outcome // by device and job
	hit   map[string]int              // what the agents were doing
}

// faults of each simulator: the downloads take a second, and one
// acknowledgement in five is lost, at random: by number it might be the same one
// in each connection that only says again what was lost.
func (y *planeKilling) faults() []cloudsim.Fault {
	return []cloudsim.Fault{{Kind: cloudsim.FaultLostPuback, Percent: 20}, {Kind: cloudsim.FaultSlow, Rate: 64 << 10}}
}

// outages kills the simulator as often as it is due.
func (y *planeKilling) outages(r *rand.Rand) error {
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
func (y *planeKilling) aim() bool {
	n := y.aimed.Add(1)
	if n > int64(*planeKills) {
		return false
	}
	for i := range int64(*planeSimKills) {
		if n == (i+1)*int64(*planeKills)/int64(*planeSimKills) {
			y.due <- true
		}
	}
	return true
}

// life is that of a device: update after update, until nobody is to be killed
// any more, and one in peace.
func (y *planeKilling) life(ctx context.Context, u *planeUnit, r *rand.Rand) (err error) {
	agent, err := u.agent()
	if err != nil {
		return err
	}
	defer func() {
		if agent.kill(); err != nil {
			err = fmt.Errorf("%w\nits events\n%s\nits messages\n%s\nthe last agent said\n%s", err,
				tail(u.dir+"/.updraft/events.ndjson", "", 40), tail(u.f.dir+"/trace.ndjson", `"client":"`+u.name+`"`, 40), agent.text())
		}
	}()
	have, last := "1.0.0", false
	for n := 1; !last; n++ {
		version, sick, want := fmt.Sprintf("1.0.%d", n), r.IntN(3) == 0, cloudsim.Succeeded
		if sick {
			want = cloudsim.Failed
			y.sick.Add(1)
		}
		file, err := u.image(version, sick, 48<<10)
		if err != nil {
			return err
		}
		limit, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		done, err := u.order(limit, cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{File: file, Version: version}})
		if err != nil {
			return err
		}
		for more := true; more && !last; more = r.IntN(3) == 0 {
			if last = !y.aim(); last {
				break
			}
			select {
			case <-time.After(time.Duration(r.Int64N(int64(2500 * time.Millisecond)))):
			case <-agent.ended:
				return fmt.Errorf("the agent ended by itself with %d", agent.cmd.ProcessState.ExitCode())
			}
			agent.kill()
			y.killed.Add(1)
			y.mu.Lock()
			y.hit[doing(u.dir)]++
			y.mu.Unlock()
			if agent, err = u.agent(); err != nil {
				return err
			}
		}
		end, err := u.end(limit, done.Job)
		if err != nil {
			return err
		}
		if end.Outcome != want {
			return fmt.Errorf("%s to %s ends as %+v, want %s", done.Job, version, end, want)
		}
		if !sick {
			have = version
		}
		if runs, err := u.running(); runs != have || err != nil {
			return fmt.Errorf("after %s version %q runs, %v; want %s", version, runs, err, have)
		}
		y.jobs.Add(1)
		y.mu.Lock()
		if y.wants == nil {
			y.wants = map[string]cloudsim.Outcome{}
		}
		y.wants[u.name+" "+done.Job] = want
		y.mu.Unlock()
	}
	return nil
}

// tail are the last lines of a file that hold a text.
func tail(name, text string, n int) string {
	data, _ := os.ReadFile(name)
	lines := slices.DeleteFunc(strings.Split(string(data), "\n"), func(l string) bool { return !strings.Contains(l, text) })
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// count holds what the cloud knows in the end to one true end an update.
func (y *planeKilling) count(t *testing.T, units []*planeUnit) (arrivals int) {
	t.Helper()
	st, err := y.f.cloud().State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, u := range units {
		for _, e := range st.Devices[u.name].Ends {
			arrivals += e.Arrivals
			key := u.name + " " + e.Job
			if seen[key] {
				t.Errorf("%s has a second end: %+v", key, e)
			}
			if seen[key] = true; !t.Failed() && e.Outcome != y.wants[key] {
				t.Errorf("%s ends as %+v, want %s", key, e, y.wants[key])
			}
		}
	}
	if len(seen) != len(y.wants) && !t.Failed() {
		t.Errorf("the cloud knows of %d ends, want %d", len(seen), len(y.wants))
	}
	return arrivals
}
