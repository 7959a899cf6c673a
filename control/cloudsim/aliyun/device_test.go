package aliyun_test

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aliyun"
	"github.com/updraft-ota/updraft/engine"
)

// service is what differs between the two: how a device speaks, what is
// ordered, and the words for the ends.
type service struct {
	name    string
	build   func() (cloudsim.Cloud, error)
	dialect func(*testing.T, []byte) control.Dialect
	order   cloudsim.Order
	version string
	good    string
	bad     string // after a wrong digest
	code    string // likewise
}

var services = []service{
	{"ota", ota, otaDialect, cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j1", Software: cloudsim.Software{File: "fw-2.bin", Version: "2.0.0"}},
		"2.0.0", "SUCCEEDED", "FAILED", "-3"},
	{"haas", apps, appDialect, cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j1", Software: cloudsim.Software{File: "py9000-" + app + "-0.0.2.tar.gz", Version: "0.0.2"}, Set: map[string]any{"appId": app}},
		"0.0.2", "200", "405", "405"},
}

// each runs a test for both.
func each(t *testing.T, f func(*testing.T, service)) {
	for _, s := range services {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

func TestDeviceIsUpdated(t *testing.T) {
	each(t, func(t *testing.T, s service) {
		r := newRig(t, s.build)
		m, _ := r.connect(s.dialect(t, nil), platform.Settings{})
		ready(t, m)
		r.order(s.order)
		c := m.command(t)
		content := fetch(t, c.Inputs["url"])
		sum := md5.Sum([]byte(content))
		if c.Inputs["version"] != s.version || c.Inputs["md5"] != hex.EncodeToString(sum[:]) || !strings.HasPrefix(content, "content of ") {
			t.Errorf("inputs %v do not describe %q", c.Inputs, content)
		}
		m.end(c, engine.Succeeded, "")
		if e := r.end("j1"); e.Outcome != cloudsim.Succeeded || e.Result != s.good {
			t.Errorf("end %+v, want %s", e, s.good)
		}
		m.onlyDelivered(t)
	})
}

func TestDeviceFails(t *testing.T) {
	each(t, func(t *testing.T, s service) {
		r := newRig(t, s.build)
		r.fault(cloudsim.Fault{Kind: cloudsim.FaultWrongHash})
		m, _ := r.connect(s.dialect(t, nil), platform.Settings{Method: "hmacsha1"})
		ready(t, m)
		r.order(s.order)
		c := m.command(t)
		if strings.Trim(c.Inputs["md5"], "0") != "" {
			t.Errorf("md5 %s, want a wrong one", c.Inputs["md5"])
		}
		m.end(c, engine.Failed, "digest")
		if e := r.end("j1"); e.Outcome != cloudsim.Failed || e.Result != s.bad || e.Code != s.code {
			t.Errorf("end %+v, want %s with %s", e, s.bad, s.code)
		}
		m.onlyDelivered(t)
	})
}

// A simulator that ends and comes back at any point gives each job one end.
func TestSimulatorIsKilled(t *testing.T) {
	each(t, func(t *testing.T, s service) {
		r := newRig(t, s.build)
		r.order(s.order) // to a device that has never been there
		r.stop()
		r.start()
		m, _ := r.connect(s.dialect(t, nil), platform.Settings{Method: "hmacmd5"})
		c := m.command(t)
		r.stop()
		r.start()
		ready(t, m)
		r.stop()
		m.end(c, engine.Succeeded, "") // while nobody hears it
		r.start()
		if e := r.end("j1"); e.Outcome != cloudsim.Succeeded {
			t.Errorf("end %+v, want a good one", e)
		}
		m.onlyDelivered(t)
		r.stop()
		r.start()
		if e := r.end("j1"); e.Outcome != cloudsim.Succeeded {
			t.Errorf("end after a restart %+v", e)
		}
	})
}

// A device that restarts in the middle of an update gets the push again, and
// takes it for what it is.
func TestDeviceIsKilled(t *testing.T) {
	each(t, func(t *testing.T, s service) {
		r := newRig(t, s.build)
		m, kill := r.connect(s.dialect(t, nil), platform.Settings{})
		ready(t, m)
		r.order(s.order)
		c := m.command(t)
		kill()
		m, _ = r.connect(s.dialect(t, m.save), platform.Settings{})
		if again := m.command(t); again.ID != c.ID {
			t.Errorf("command %s after the restart, want %s: the engine knows it", again.ID, c.ID)
		}
		m.end(c, engine.Failed, "network")
		if e := r.end("j1"); e.Outcome != cloudsim.Failed {
			t.Errorf("end %+v, want a failure", e)
		}
	})
}

// Whatever the network does, the engine gets one command and the cloud one end.
func TestFaults(t *testing.T) {
	for _, f := range []cloudsim.Fault{
		{Kind: cloudsim.FaultDuplicate},
		{Kind: cloudsim.FaultReorder},
		{Kind: cloudsim.FaultNewURL},
		{Kind: cloudsim.FaultLostPuback, Every: 2},
		{Kind: cloudsim.FaultDrop, Every: 3},
		{Kind: cloudsim.FaultThrottled},
	} {
		t.Run(string(f.Kind), func(t *testing.T) {
			each(t, func(t *testing.T, s service) {
				r := newRig(t, s.build)
				m, _ := r.connect(s.dialect(t, nil), platform.Settings{})
				ready(t, m)
				r.fault(f)
				r.order(s.order)
				c := m.command(t)
				r.fault(cloudsim.Fault{Kind: cloudsim.FaultDrop}) // once, now
				m.end(c, engine.Succeeded, "")
				if e := r.end("j1"); e.Outcome != cloudsim.Succeeded {
					t.Errorf("end %+v, want a good one", e)
				}
				m.onlyDelivered(t)
				r.end("j1") // there is no other one by now
			})
		})
	}
}

// A login that the cloud does not take is an answer, not a silence, and ends when it is taken again.
func TestLoginRefusedForAWhile(t *testing.T) {
	each(t, func(t *testing.T, s service) {
		r := newRig(t, s.build)
		r.fault(cloudsim.Fault{Kind: cloudsim.FaultToken})
		m, _ := r.connect(s.dialect(t, nil), platform.Settings{})
		eventually(t, "refused", func() bool { err := m.link.Status().Err; return err != nil && strings.Contains(err.Error(), "refused") })
		r.fault(cloudsim.Fault{Kind: cloudsim.FaultToken, Off: true})
		ready(t, m)
		r.order(s.order)
		m.end(m.command(t), engine.Succeeded, "")
		r.end("j1")
	})
}

// listener is a device of the vendor's C library: it subscribes to nothing.
type listener struct{ heard []string }

func (l *listener) Step(in control.In, emit func(control.Out)) {
	switch in.Kind {
	case control.InConnected:
		emit(control.Out{Kind: control.OutPublish, Topic: "/ota/device/inform/" + product + "/gw-1", QoS: 1, Payload: []byte(`{"id":0,"params":{"version":"1.0.0"}}`)})
	case control.InMessage:
		l.heard = append(l.heard, in.Topic)
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
		emit(control.Out{Kind: control.OutPublish, Topic: "/ota/device/inform/" + product + "/gw-1", QoS: 1, Payload: []byte(`{"id":0,"params":{"version":"2.0.0"}}`)})
	}
}

func (l *listener) Save() []byte { return nil }

func TestDeviceThatDoesNotSubscribe(t *testing.T) {
	r := newRig(t, ota)
	r.order(services[0].order)
	c, err := platform.Login(platform.Device{ProductKey: product, Name: "gw-1"}, platform.Settings{}, "s3cr3t")
	if err != nil {
		t.Fatal(err)
	}
	c.ClientID = strings.Replace(c.ClientID, "|", "|_ss=1,_v=sdk-c-4.1.0,", 1)
	l := &listener{}
	_, end := r.connectAs(l, c)
	r.end("j1")
	end()
	if want := "/ota/device/upgrade/" + product + "/gw-1"; len(l.heard) != 1 || l.heard[0] != want {
		t.Errorf("heard %q, want %s", l.heard, want)
	}
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		name     string
		accounts cloudsim.Accounts
		want     string
	}{
		{"no devices", cloudsim.Accounts{Product: product}, "no devices"},
		{"no secret", cloudsim.Accounts{Product: product, Devices: map[string]string{"gw-1": ""}}, "no secret"},
		{"no product", cloudsim.Accounts{Devices: map[string]string{"gw-1": "s3cr3t"}}, "product key"},
		{"a topic in a name", cloudsim.Accounts{Product: product, Devices: map[string]string{"gw/1": "s3cr3t"}}, "device name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := aliyun.NewOTA(aliyun.Config{Accounts: tt.accounts})
			if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("error %v, want ErrConfig with %q and no secret", err, tt.want)
			}
			if _, err := aliyun.NewHaaS(aliyun.Config{Accounts: tt.accounts}); !errors.Is(err, cloudsim.ErrConfig) {
				t.Errorf("error %v, want ErrConfig", err)
			}
		})
	}
}
