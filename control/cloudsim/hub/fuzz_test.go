package hub_test

import (
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
)

// FuzzTake sends a hub any message: it answers or does not, and nothing breaks.
func FuzzTake(f *testing.F) {
	f.Add("$iothub/twin/PATCH/properties/reported/?$rid=1", []byte(`{"firmwareStatus":"failed","error":{"code":1},"iothubDM":{"firmwareUpdate":null},"firmware":{"fwUpdateStatus":"error"}}`))
	f.Add("$iothub/twin/PATCH/properties/reported/?$rid=1", []byte(agentSays(0, -1, `"id":"d-1"`, "")))
	f.Add("$iothub/twin/PATCH/properties/reported/?$rid=1", []byte(`{"deviceUpdate":{"service":{"ac":200,"av":2,"value":{"workflow":{"id":"d-1"}}}}}`))
	f.Add("$iothub/twin/GET/?$rid=1", []byte(" "))
	f.Add("$iothub/methods/res/200/?$rid=1", []byte("{}"))
	samples, err := hub.New(hub.Config{Accounts: accounts("gw-1")})
	if err != nil {
		f.Fatal(err)
	}
	update, err := hub.New(hub.Config{Accounts: accounts("gw-1"), Update: true, Signer: signer()})
	if err != nil {
		f.Fatal(err)
	}
	software := cloudsim.Software{URL: "https://files.example/v2", Version: "2.0", Size: 1, SHA256: "0000000000000000000000000000000000000000000000000000000000000000"}
	for cloud, set := range map[*hub.Cloud]map[string]any{samples: {"shape": "twin"}, update: nil} {
		s, err := cloudsim.Start(cloudsim.Config{}, cloud)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = s.Close() })
		if _, err := s.Order(f.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "d-1", Software: software, Set: set}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		for _, cloud := range []*hub.Cloud{samples, update} {
			if cloud.Permit("gw-1", topic, true) != cloudsim.Allowed {
				continue
			}
			answers, err := cloud.Take(cloudsim.Message{Device: "gw-1", Topic: topic, Payload: payload})
			if err != nil || len(answers) > 1 {
				t.Errorf("Take = %v, %v", answers, err)
			}
		}
	})
}

// FuzzAdmit tries to get in without the key.
func FuzzAdmit(f *testing.F) {
	now := time.Unix(1700000000, 0)
	cloud, err := hub.New(hub.Config{Accounts: accounts("gw-1")})
	if err != nil {
		f.Fatal(err)
	}
	s, err := cloudsim.Start(cloudsim.Config{Now: func() time.Time { return now }}, cloud)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Add(hostName+"/gw-1/?api-version=2021-04-12", "SharedAccessSignature sr=contoso.azure-devices.net%2Fdevices%2Fgw-1&sig=YQ%3D%3D&se=1700003600&skn=device")
	f.Fuzz(func(t *testing.T, user, password string) {
		if _, _, err := cloud.Admit(cloudsim.Caller{Client: "gw-1", User: user, Password: []byte(password)}); err == nil {
			t.Errorf("%q %q came in", user, password)
		}
	})
}
