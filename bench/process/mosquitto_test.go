package process

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var withMosquitto = flag.Bool("mosquitto", false, "run TestMosquitto, which needs mosquitto (apt-get install mosquitto)")

// TestMosquitto has the agent speak to the real mosquitto: TLS, a certificate
// for each client, and an ACL that gives each device its own topics.
func TestMosquitto(t *testing.T) {
	if !*withMosquitto {
		t.Skip("it needs mosquitto: run it with -mosquitto")
	}
	version, err := exec.Command(mosquittoPath(t), "-h").Output()
	if _, said := errors.AsType[*exec.ExitError](err); err != nil && !said {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	t.Log(first)
	a := newAuthority(t, "fleet CA")
	t.Run("an update goes through and no other certificate sees it", func(t *testing.T) { goesThrough(t, a) })
	t.Run("the certificate of another id brings nothing", func(t *testing.T) { wrongCertificate(t, a) })
	t.Run("the certificate of another authority is refused", func(t *testing.T) { foreignCertificate(t, a) })
	t.Run("mosquitto dies in mid-download and has lost the session", func(t *testing.T) { diesInDownload(t, a, "false") })
	t.Run("mosquitto dies in mid-download and has kept the session", func(t *testing.T) { diesInDownload(t, a, "true") })
	t.Run("an update waits in mosquitto for a device that is away", func(t *testing.T) { waitsInQueue(t, a) })
}

func goesThrough(t *testing.T, a *authority) {
	m := newFleet(t, a, "false")
	agent := m.agent(t, "gw-1", "gw-1", "")
	agent.says(t, "connected as", 1)
	m.answered(t, "gw-1")

	// The thief takes the other's client id and asks for all topics.
	thief, heard := m.client(t, "gw-2", "gw-1", "#", "state/gw-1/update/delta", "state/gw-1/update/accepted", "state/gw-2/update/accepted")
	before := m.sim.Device("gw-1").Version
	m.publish(t, thief, "state/gw-1/update", `{"state": {"reported": {"jobID": "job-1", "result": "SUCCESS"}}, "clientToken": "lie"}`)
	m.publish(t, thief, "state/gw-1/update/delta", m.delta("lie"))
	m.broker.says(t, "Denied PUBLISH from gw-2", 2)

	began := time.Now()
	m.push(t, "job-1")
	m.succeeds(t, "job-1")
	t.Logf("from the push to the accepted report: %v", time.Since(began).Round(time.Millisecond))
	m.updated(t)
	if got := m.sim.Device("gw-1"); got.Version != before+2 || len(got.Ends) != 1 {
		t.Errorf("shadow %d with ends %+v, want %d with one: the push and the report, nothing of the thief's", got.Version, got.Ends, before+2)
	}

	// What the broker gave to the thief it gave in order: this is the last.
	m.publish(t, thief, "state/gw-2/update", `{"state": {"reported": {"here": true}}, "clientToken": "own"}`)
	if topic := next(t, heard); topic != "state/gw-2/update/accepted" {
		t.Errorf("the certificate of gw-2 read %s", topic)
	}
	if said := agent.text(); strings.Contains(said, "lie") || strings.Count(said, "connected as") != 1 {
		t.Errorf("the agent heard of the thief:\n%s", said)
	}
	m.stops(t, agent)
}

func wrongCertificate(t *testing.T, a *authority) {
	m := newFleet(t, a, "false")
	agent := m.agent(t, "gw-1", "gw-2", "")
	m.broker.until(t, "Denied PUBLISH from gw-2", func(said string) bool {
		return slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
			return strings.Contains(line, "Denied PUBLISH from gw-2") && strings.Contains(line, "'state/gw-1/update'")
		})
	})
	_, heard := m.client(t, "cloud", "cloud", "state/gw-1/update/delta")
	m.push(t, "job-1")
	next(t, heard)
	m.stops(t, agent)
	if strings.Contains(m.broker.text(), "Sending PUBLISH to gw-2") || strings.Contains(agent.text(), "job-1") {
		t.Errorf("the agent got what is for gw-1:\n%s", agent.text())
	}
	if _, err := os.Stat(filepath.Join(m.dir, "gw-1", "app.conf")); !os.IsNotExist(err) {
		t.Errorf("the device has changed: %v", err)
	}
	t.Logf("the agent says\n%s", agent.text())
}

func foreignCertificate(t *testing.T, a *authority) {
	m := newFleet(t, a, "false")
	newAuthority(t, "another CA").client(t, m.dir, "gw-1") // instead of the fleet's
	agent := m.agent(t, "gw-1", "gw-1", "")
	agent.says(t, "unknown certificate authority", 1)
	m.stops(t, agent)
	if strings.Contains(agent.text(), "connected as") {
		t.Error("the agent was let in")
	}
	t.Logf("the agent says\n%s", agent.text())
}

func diesInDownload(t *testing.T, a *authority, persistence string) {
	m := newFleet(t, a, persistence)
	agent := m.agent(t, "gw-1", "gw-1", "")
	m.answered(t, "gw-1")
	m.files.hold()
	m.push(t, "job-1")
	next(t, m.files.half)
	m.broker.kill()
	killed := time.Now()
	m.startBroker(t)
	agent.says(t, "connected as", 2)
	m.broker.says(t, "state/gw-1/update/delta (QoS 1)", 1) // it subscribes, whatever the broker has kept
	t.Logf("connected again %v after the kill", time.Since(killed).Round(time.Millisecond))
	kept := strings.Contains(m.broker.text(), "Sending CONNACK to gw-1 (1, 0)")
	if kept != (persistence == "true") {
		t.Errorf("with persistence %s, the broker kept the session: %v", persistence, kept)
	}
	m.files.release()
	m.succeeds(t, "job-1")
	m.updated(t)
	m.stops(t, agent)
	if got := m.sim.Device("gw-1").Ends; len(got) != 1 || m.files.count() != 1 {
		t.Errorf("%d downloads and the reports %+v, want one of each", m.files.count(), got)
	}
}

func waitsInQueue(t *testing.T, a *authority) {
	m := newFleet(t, a, "true")
	// A quiet device does not say again what it has, so that the cloud does
	// not answer with the delta: what it gets comes from mosquitto's queue.
	agent := m.agent(t, "gw-1", "gw-1", "settings: {quiet: true}")
	m.broker.says(t, "state/gw-1/update/rejected (QoS 1)", 1)
	m.stops(t, agent)
	m.push(t, "job-1")
	within(t, 10*time.Second, "mosquitto has the delta on its disk", func() bool {
		data, err := os.ReadFile(filepath.Join(m.dir, "mosquitto.db"))
		return err == nil && bytes.Contains(data, []byte(`"jobID":"job-1"`)) && bytes.Contains(data, []byte("state/gw-1/update/delta"))
	})
	m.broker.kill()
	m.startBroker(t)
	agent = m.agent(t, "gw-1", "gw-1", "settings: {quiet: true}")
	m.succeeds(t, "job-1")
	m.updated(t)
	m.stops(t, agent)
	before, _, _ := strings.Cut(m.broker.text(), "Received PUBLISH from gw-1") // the report
	if strings.Contains(before, "Received PUBLISH from local.") || !strings.Contains(before, "Sending PUBLISH to gw-1") {
		t.Errorf("the delta is not from the queue:\n%s", before)
	}
}
