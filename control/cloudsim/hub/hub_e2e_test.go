package hub_test

import (
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	"github.com/updraft-ota/updraft/engine"
)

// gw1 connects gw-1 with the dialect of the hub's samples.
func gw1(t *testing.T, s *cloudsim.Sim, shape string, e *engineSide) *gateway {
	t.Helper()
	e.mu.Lock()
	state := e.state
	e.mu.Unlock()
	d, err := azurehub.New(azurehub.Config{Device: "gw-1", Shape: shape, Plain: shape == azurehub.Firmware}, state)
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, s, azurehub.Identity{Host: hostName, Device: "gw-1"}, d, e)
	return g
}

func push(job string, set map[string]any) cloudsim.Order {
	return cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: job, Software: cloudsim.Software{File: "v2.bin", Version: "2.0"}, Set: set}
}

// One update in each of the three shapes, well and badly.
func TestUpdates(t *testing.T) {
	for _, tt := range []struct {
		name, shape string
		set         map[string]any
		state       engine.EndState
		want        string
	}{
		{"python, well", azurehub.Flat, nil, engine.Succeeded, "j-1 succeeded completed"},
		{"python, badly", azurehub.Flat, nil, engine.RolledBack, "j-1 failed failed"},
		{"python, cancelled", azurehub.Flat, nil, engine.Cancelled, "j-1 cancelled standBy"},
		{"node, well", azurehub.IoTHubDM, map[string]any{"shape": "node"}, engine.Succeeded, "j-1 succeeded applyComplete"},
		{"node, badly", azurehub.IoTHubDM, map[string]any{"shape": "node"}, engine.RolledBack, "j-1 failed applyFailed"},
		{"node, cancelled", azurehub.IoTHubDM, map[string]any{"shape": "node"}, engine.Cancelled, "j-1 cancelled cleared"},
		{"tutorial, well", azurehub.Firmware, map[string]any{"shape": "twin"}, engine.Succeeded, "j-1 succeeded current"},
		{"tutorial, badly", azurehub.Firmware, map[string]any{"shape": "twin"}, engine.RolledBack, "j-1 failed error"},
		{"tutorial, cancelled", azurehub.Firmware, map[string]any{"shape": "twin"}, engine.Cancelled, "j-1 cancelled current"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var told events
			s := start(t, cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin"), Events: told.tell}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
			g := gw1(t, s, tt.shape, &engineSide{})
			done := order(t, s, push("j-1", tt.set))
			c := g.command(t, 1)
			if got := c.Inputs["url"]; got != done.URL || !strings.HasSuffix(got, "/files/v2.bin") || c.Inputs["version"] != "2.0" {
				t.Errorf("inputs = %v, want the url %s and the version 2.0", c.Inputs, done.URL)
			}
			if sum := c.Inputs["sha256"]; (len(sum) == 64) != (tt.shape == azurehub.Firmware) {
				t.Errorf("sha256 = %q, want one in the shape twin alone", sum)
			}
			g.fetched(c)
			g.report(c, tt.state, "install", "the step broke")
			e := ended(t, s, "gw-1", "j-1")
			only(t, s, "gw-1", tt.want)
			if tt.state == engine.RolledBack && !strings.Contains(e.Code+e.Message, "install") {
				t.Errorf("end = %+v, want the code install", e)
			}
			eventually(t, "the report is delivered", func() bool { return g.has(&g.delivered, "report of "+c.ID) })
			if refused := told.texts(cloudsim.EventRefused); len(refused) > 0 {
				t.Errorf("refused: %q", refused)
			}
		})
	}
}

// What a device says no to is an end, too.
func TestPushRefusedByTheDevice(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin", "v3.bin")}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	g := gw1(t, s, azurehub.Flat, &engineSide{})
	order(t, s, push("j-1", nil))
	c := g.command(t, 1)
	other := push("j-2", nil)
	other.Software = cloudsim.Software{File: "v3.bin"}
	if done := order(t, s, other); !strings.Contains(done.Text, "409") {
		t.Errorf("text = %q, want the status 409", done.Text)
	}
	only(t, s, "gw-1", "j-2 rejected 409")
	g.report(c, engine.Succeeded, "", "")
	ended(t, s, "gw-1", "j-1")
	only(t, s, "gw-1", "j-2 rejected 409", "j-1 succeeded completed")
	g.refuse("no workflow for update")
	order(t, s, push("j-3", nil))
	if e := ended(t, s, "gw-1", "j-3"); e.Outcome != cloudsim.Rejected || e.Code != "403" || !strings.Contains(e.Message, "no workflow") {
		t.Errorf("end = %+v, want rejected with 403 and the reason", e)
	}
}

// A simulator that was killed knows all when it comes back at the same place,
// and the device tells it what it has missed.
func TestKilledSimulator(t *testing.T) {
	for _, tt := range []struct{ name, shape, set, want string }{
		{"method", azurehub.Flat, "method", "j-1 succeeded completed"},
		{"twin", azurehub.Firmware, "twin", "j-1 succeeded current"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin")}
			cloud := hub.Config{Accounts: accounts("gw-1")}
			s := start(t, cfg, newHub(t, cloud))
			g := gw1(t, s, tt.shape, &engineSide{})
			order(t, s, push("j-1", map[string]any{"shape": tt.set}))
			c := g.command(t, 1)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			g.report(c, engine.Succeeded, "", "")
			s = start(t, again(cfg, s), newHub(t, cloud))
			ended(t, s, "gw-1", "j-1")
			only(t, s, "gw-1", tt.want)
			eventually(t, "the report is delivered", func() bool { return g.has(&g.delivered, "report of "+c.ID) })
		})
	}
}

// Desired firmware reaches a device that was away, at the address of now.
func TestDesiredWhileAway(t *testing.T) {
	cfg := cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin")}
	s := start(t, cfg, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	order(t, s, push("j-1", map[string]any{"shape": "twin"}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, cfg, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	g := gw1(t, s, azurehub.Firmware, &engineSide{})
	c := g.command(t, 1)
	if want := s.Endpoints().Files + "v2.bin"; c.Inputs["url"] != want {
		t.Errorf("url = %q, want %q", c.Inputs["url"], want)
	}
	g.report(c, engine.Succeeded, "", "")
	ended(t, s, "gw-1", "j-1")
	only(t, s, "gw-1", "j-1 succeeded current")
}

// Whatever happens on the way, an update has one end. A call that is cut has no
// answer, so connections are cut after it.
func TestFaults(t *testing.T) {
	drop := cloudsim.Fault{Kind: cloudsim.FaultDrop, Every: 2}
	for _, tt := range []struct {
		shape string
		fault cloudsim.Fault
		late  bool // after the command
	}{
		{"method", cloudsim.Fault{Kind: cloudsim.FaultDuplicate}, false},
		{"twin", cloudsim.Fault{Kind: cloudsim.FaultDuplicate}, false},
		{"method", cloudsim.Fault{Kind: cloudsim.FaultReorder}, false},
		{"twin", cloudsim.Fault{Kind: cloudsim.FaultReorder}, false},
		{"method", cloudsim.Fault{Kind: cloudsim.FaultNewURL}, false},
		{"twin", cloudsim.Fault{Kind: cloudsim.FaultNewURL}, false},
		{"method", drop, true},
		{"twin", drop, false},
	} {
		t.Run(string(tt.fault.Kind)+" "+tt.shape, func(t *testing.T) {
			s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
			g := gw1(t, s, map[string]string{"method": azurehub.Flat, "twin": azurehub.Firmware}[tt.shape], &engineSide{})
			set := func(now bool) {
				if now {
					fault(t, s, tt.fault)
				}
			}
			set(!tt.late)
			order(t, s, push("j-1", map[string]any{"shape": tt.shape}))
			c := g.command(t, 1)
			set(tt.late)
			g.fetched(c)
			g.report(c, engine.Succeeded, "", "")
			ended(t, s, "gw-1", "j-1")
			if r, _ := s.Book().Look("gw-1"); len(r.Ends) != 1 || r.Ends[0].Outcome != cloudsim.Succeeded {
				t.Errorf("ends = %+v, want one that succeeded", r.Ends)
			}
			if faults := s.Faults(); len(faults) != 1 || faults[0].Hits == 0 {
				t.Errorf("faults = %+v, want one that has happened", faults)
			}
		})
	}
}
