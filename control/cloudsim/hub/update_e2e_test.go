package hub_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/updraft-ota/updraft/control/adu"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	"github.com/updraft-ota/updraft/engine"
)

// signer has the keys of the dialect's tests.
var signer = sync.OnceValue(func() manifest.Signer {
	raw, err := os.ReadFile("../../adu/testdata/keys.pem")
	if err != nil {
		panic(err)
	}
	var keys []*rsa.PrivateKey
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			panic(err)
		}
		keys = append(keys, key)
	}
	return manifest.Signer{RootKid: "TEST.R", Root: keys[0], Kid: "TEST.S", Key: keys[1]}
})

// updateHub is a device update for tests, with root keys for tests.
func updateHub(t *testing.T, devices ...string) *hub.Cloud {
	t.Helper()
	return newHub(t, hub.Config{Accounts: accounts(devices...), Update: true, Signer: signer(), RootKeys: manifest.Package{Test: true}})
}

// vacuum connects gw-1 as a device that trusts the signer's root.
func vacuum(t *testing.T, s *cloudsim.Sim, e *engineSide) *gateway {
	t.Helper()
	return agent(t, s, e, adu.Config{Device: "gw-1", Manufacturer: "contoso", Model: "vacuum"})
}

func agent(t *testing.T, s *cloudsim.Sim, e *engineSide, c adu.Config) *gateway {
	t.Helper()
	roots, err := signer().RootKeys(manifest.Package{Version: 1, Test: true})
	if err != nil {
		t.Fatal(err)
	}
	c.RootKeys, c.Test = string(roots), true
	e.mu.Lock()
	state := e.state
	e.mu.Unlock()
	d, err := adu.New(c, state)
	if err != nil {
		t.Fatal(err)
	}
	g := run(t, s, azurehub.Identity{Host: hostName, Device: "gw-1", Model: adu.ModelID}, d, e)
	eventually(t, "the device says what it is", func() bool {
		return at(doc(t, s, "gw-1"), "reported", "values", "deviceUpdate", "agent", "deviceProperties") != nil
	})
	return g
}

// One deployment of each form, well and badly.
func TestDeployments(t *testing.T) {
	delta := push("d-1", nil)
	delta.Delta, delta.Source = &cloudsim.Software{File: "v1-v2.diff"}, &cloudsim.Software{File: "v1.bin"}
	for _, tt := range []struct {
		name  string
		order cloudsim.Order
		state engine.EndState
		want  string
	}{
		{"well", push("d-1", nil), engine.Succeeded, "d-1 succeeded 0/700"},
		{"badly", push("d-1", nil), engine.Failed, "d-1 failed 255/0"},
		{"restored", push("d-1", nil), engine.RolledBack, "d-1 failed 0/0"},
		{"cancelled by the device", push("d-1", nil), engine.Cancelled, "d-1 cancelled 0/-1"},
		{"reference step", push("d-1", map[string]any{"step": "reference"}), engine.Succeeded, "d-1 succeeded 0/700"},
		{"detached manifest", push("d-1", map[string]any{"detached": true}), engine.Succeeded, "d-1 succeeded 0/700"},
		{"both", push("d-1", map[string]any{"detached": true, "step": "reference"}), engine.Succeeded, "d-1 succeeded 0/700"},
		{"with a delta", delta, engine.Succeeded, "d-1 succeeded 0/700"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var told events
			s := start(t, cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin", "v1.bin", "v1-v2.diff"), Events: told.tell}, updateHub(t, "gw-1"))
			g := vacuum(t, s, &engineSide{})
			done := order(t, s, tt.order)
			c := g.command(t, 1)
			for name, want := range map[string]string{"url": done.URL, "version": "2.0", "fileName": "v2.bin", "size": "600", "handler": "microsoft/swupdate:1", "criteria": "2.0", "name": "device"} {
				if c.Inputs[name] != want {
					t.Errorf("input %s = %q, want %q", name, c.Inputs[name], want)
				}
			}
			if has := strings.Contains(c.Inputs["update"], `"v1-v2.diff"`); has != (tt.order.Delta != nil) {
				t.Errorf("update = %s, want the related file: %t", c.Inputs["update"], !has)
			}
			g.report(c, tt.state, "install", "the step broke")
			e := ended(t, s, "gw-1", "d-1")
			only(t, s, "gw-1", tt.want)
			if e.Outcome == cloudsim.Failed && (e.Code != "00000083" || !strings.Contains(e.Message, "the step broke")) {
				t.Errorf("end = %+v, want the code 00000083 and the reason", e)
			}
			eventually(t, "the wish is acknowledged", func() bool { return at(doc(t, s, "gw-1"), "deployment", "acked") == 2.0 })
			if refused := told.texts(cloudsim.EventRefused); len(refused) > 0 {
				t.Errorf("refused: %q", refused)
			}
		})
	}
}

// A delta is chosen by a device that has installed its source.
func TestDeltaToWhatIsInstalled(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v1.bin", "v2.bin", "v1-v2.diff")}, updateHub(t, "gw-1"))
	g := vacuum(t, s, &engineSide{})
	first := push("d-1", nil)
	first.Software = cloudsim.Software{File: "v1.bin", Version: "1.0"}
	order(t, s, first)
	g.report(g.command(t, 1), engine.Succeeded, "", "")
	ended(t, s, "gw-1", "d-1")
	second := push("d-2", nil)
	second.Delta, second.Source = &cloudsim.Software{File: "v1-v2.diff"}, &cloudsim.Software{File: "v1.bin"}
	order(t, s, second)
	c := g.command(t, 2)
	if c.Inputs["deltaUrl"] != s.Endpoints().Files+"v1-v2.diff" || c.Inputs["deltaHandler"] != "microsoft/delta:1" || c.Inputs["deltaSize"] != "1000" {
		t.Errorf("inputs = %v, want the delta", c.Inputs)
	}
	g.report(c, engine.Succeeded, "", "")
	ended(t, s, "gw-1", "d-2")
	only(t, s, "gw-1", "d-1 succeeded 0/700", "d-2 succeeded 0/700")
}

// verb is an order about the deployment of gw-1.
func verb(v cloudsim.Verb) cloudsim.Order { return cloudsim.Order{Verb: v, Device: "gw-1"} }

func TestCancel(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, updateHub(t, "gw-1"))
	g := vacuum(t, s, &engineSide{})
	order(t, s, push("d-1", nil))
	c := g.command(t, 1)
	order(t, s, verb(cloudsim.VerbCancel))
	eventually(t, "the run is cancelled", func() bool { return g.has(&g.cancelled, c.ID) })
	if got, want := at(doc(t, s, "gw-1"), "desired", "values", "deviceUpdate", "service"), map[string]any{"workflow": map[string]any{"action": 255.0, "id": "d-1"}}; !equal(got, want) {
		t.Errorf("desired = %v, want the workflow alone: %v", got, want)
	}
	g.report(c, engine.Cancelled, "", "")
	ended(t, s, "gw-1", "d-1")
	only(t, s, "gw-1", "d-1 cancelled 0/-1")
	if _, err := s.Order(t.Context(), verb(cloudsim.VerbCancel)); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("second cancel: %v, want that it has ended", err)
	}
}

// A deployment that was cancelled while its device was away ends when it comes.
func TestCancelWhileAway(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, updateHub(t, "gw-1"))
	order(t, s, push("d-1", nil))
	order(t, s, verb(cloudsim.VerbCancel))
	vacuum(t, s, &engineSide{})
	ended(t, s, "gw-1", "d-1")
	only(t, s, "gw-1", "d-1 cancelled 0/200")
}

func TestRetry(t *testing.T) {
	s := start(t, cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin")}, updateHub(t, "gw-1"))
	g := vacuum(t, s, &engineSide{})
	order(t, s, push("d-1", nil))
	g.report(g.command(t, 1), engine.RolledBack, "install", "the step broke")
	ended(t, s, "gw-1", "d-1")
	if done := order(t, s, verb(cloudsim.VerbRetry)); done.Job != "d-1" {
		t.Errorf("job = %q, want d-1", done.Job)
	}
	c := g.command(t, 2)
	retry, _ := at(doc(t, s, "gw-1"), "deployment", "newest", "retry").(string)
	if retry == "" || c.ID != "d-1@"+retry {
		t.Errorf("command %s, want d-1@%s", c.ID, retry)
	}
	g.report(c, engine.Succeeded, "", "")
	eventually(t, "the second end", func() bool { r, _ := s.Book().Look("gw-1"); return len(r.Ends) == 2 })
	only(t, s, "gw-1", "d-1 failed 0/0", "d-1 succeeded 0/700")
	if r, _ := s.Book().Look("gw-1"); r.Ends[0].Report != "" || r.Ends[1].Report != retry {
		t.Errorf("ends = %+v, want the retryTimestamp %s in the second", r.Ends, retry)
	}
}

func TestReplace(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin", "v3.bin")}, updateHub(t, "gw-1"))
	replacement := push("d-2", nil)
	replacement.Verb, replacement.Software = cloudsim.VerbReplace, cloudsim.Software{File: "v3.bin", Version: "3.0"}
	if _, err := s.Order(t.Context(), replacement); err == nil || !strings.Contains(err.Error(), "no deployment is under way") {
		t.Errorf("replace without a deployment: %v", err)
	}
	g := vacuum(t, s, &engineSide{})
	order(t, s, push("d-1", nil))
	first := g.command(t, 1)
	order(t, s, replacement)
	eventually(t, "the first run is stopped", func() bool { return g.has(&g.cancelled, first.ID) })
	g.report(first, engine.Cancelled, "", "")
	second := g.command(t, 2)
	if second.ID != "d-2" || second.Inputs["version"] != "3.0" {
		t.Errorf("second command = %+v, want d-2 with 3.0", second)
	}
	g.report(second, engine.Succeeded, "", "")
	ended(t, s, "gw-1", "d-2")
	only(t, s, "gw-1", "d-1 cancelled replaced", "d-2 succeeded 0/700")
}

// The simulator is killed between the command and the report.
func TestKilledUpdateSimulator(t *testing.T) {
	cfg := cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin")}
	s := start(t, cfg, updateHub(t, "gw-1"))
	g := vacuum(t, s, &engineSide{})
	order(t, s, push("d-1", map[string]any{"detached": true}))
	c := g.command(t, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	g.report(c, engine.Succeeded, "", "")
	s = start(t, again(cfg, s), updateHub(t, "gw-1"))
	ended(t, s, "gw-1", "d-1")
	only(t, s, "gw-1", "d-1 succeeded 0/700")
	eventually(t, "the report is delivered", func() bool { return g.has(&g.delivered, "report of "+c.ID) })
}

// A detached manifest is there for a device that comes after a restart.
func TestDetachedManifestAfterRestart(t *testing.T) {
	cfg := cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin")}
	s := start(t, cfg, updateHub(t, "gw-1"))
	order(t, s, push("d-1", map[string]any{"detached": true, "step": "reference"}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, cfg, updateHub(t, "gw-1"))
	g := vacuum(t, s, &engineSide{})
	if c := g.command(t, 1); c.Inputs["url"] != s.Endpoints().Files+"v2.bin" {
		t.Errorf("url = %q, want it at %s", c.Inputs["url"], s.Endpoints().Files)
	}
}

// code8 is a reason's code as devices report it.
func code8(r manifest.Reason) string { return fmt.Sprintf("%08X", r.Extended()) }

// What a device refuses by itself: another model, root keys of the wrong kind, a disabled key.
func TestDeploymentsRefusedByTheDevice(t *testing.T) {
	for _, tt := range []struct {
		name  string
		order cloudsim.Order
		agent adu.Config
		cloud manifest.Package
		code  string
	}{
		{"another model", push("d-1", map[string]any{"compatibility": map[string]any{"manufacturer": "contoso", "model": "toaster"}}),
			adu.Config{Device: "gw-1", Manufacturer: "contoso", Model: "vacuum"}, manifest.Package{Test: true}, "00000016"},
		{"a production package at a test device", push("d-1", nil),
			adu.Config{Device: "gw-1", Manufacturer: "contoso", Model: "vacuum"}, manifest.Package{}, code8(manifest.ProductionPackage)},
		{"a disabled signing key", push("d-1", nil),
			adu.Config{Device: "gw-1", Manufacturer: "contoso", Model: "vacuum"}, manifest.Package{Test: true, DisabledKeys: []*rsa.PublicKey{&signer().Key.PublicKey}}, code8(manifest.DisallowedSigningKey)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cloud := newHub(t, hub.Config{Accounts: accounts("gw-1"), Update: true, Signer: signer(), RootKeys: tt.cloud})
			s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, cloud)
			agent(t, s, &engineSide{}, tt.agent)
			order(t, s, tt.order)
			e := ended(t, s, "gw-1", "d-1")
			only(t, s, "gw-1", "d-1 failed 255/0")
			if e.Code != tt.code {
				t.Errorf("end = %+v, want the code %s", e, tt.code)
			}
		})
	}
}

// URLs are told anew each time, and the deployment stays the same.
func TestNewURLs(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, updateHub(t, "gw-1"))
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNewURL})
	g := vacuum(t, s, &engineSide{})
	order(t, s, push("d-1", nil))
	c := g.command(t, 1)
	if !strings.Contains(c.Inputs["url"], "?") {
		t.Errorf("url = %q, want one with a query", c.Inputs["url"])
	}
	first := service(t, s)
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDrop})
	eventually(t, "connected again", func() bool { return s.Clients()["gw-1"].Connects == 2 })
	g.ready(t)
	if second := service(t, s); second["fileUrls"] == nil || equal(first["fileUrls"], second["fileUrls"]) || !equal(first["updateManifest"], second["updateManifest"]) {
		t.Errorf("services = %v and %v, want other fileUrls and the same manifest", first, second)
	}
	g.report(c, engine.Succeeded, "", "")
	ended(t, s, "gw-1", "d-1")
	only(t, s, "gw-1", "d-1 succeeded 0/700")
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.commands) != 1 {
		t.Errorf("%d commands, want 1", len(g.commands))
	}
}

// What an order says wrongly reaches the device in a manifest that is well signed.
func TestWrongOrders(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, updateHub(t, "gw-1"))
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultWrongHash})
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultWrongSize})
	g := vacuum(t, s, &engineSide{})
	order(t, s, push("d-1", nil))
	if c := g.command(t, 1); c.Inputs["sha256"] != strings.Repeat("0", 64) || c.Inputs["size"] != "601" {
		t.Errorf("inputs = %v, want zeros as sha256 and the size 601", c.Inputs)
	}
}
