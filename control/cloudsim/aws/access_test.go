package aws_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  aws.Config
		want string
	}{
		{"a secret", aws.Config{Accounts: cloudsim.Accounts{Devices: map[string]string{"gw-1": "s3cr3t"}}}, "certificate"},
		{"a name with a slash", aws.Config{Accounts: cloudsim.Accounts{Devices: map[string]string{"a/b": ""}}}, "a/b"},
		{"another way", aws.Config{Via: "mail"}, "mail"},
	} {
		_, err := aws.New(tt.cfg)
		if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, want ErrConfig with %q", tt.name, err, tt.want)
		}
	}
}

func TestAdmit(t *testing.T) {
	named := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}}
	}
	known := aws.Config{Accounts: cloudsim.Accounts{Devices: map[string]string{"gw-1": ""}}}
	strict := aws.Config{Certificate: true}
	for _, tt := range []struct {
		name string
		cfg  aws.Config
		who  cloudsim.Caller
		want string // of the refusal
	}{
		{"a name", aws.Config{}, cloudsim.Caller{Client: "gw-1"}, ""},
		{"the SDK's user", aws.Config{}, cloudsim.Caller{Client: "gw-1", User: "?SDK=Python&Version=1"}, ""},
		{"its certificate", strict, cloudsim.Caller{Client: "gw-1", Certificate: named("gw-1")}, ""},
		{"a known thing", known, cloudsim.Caller{Client: "gw-1"}, ""},
		{"no name", aws.Config{}, cloudsim.Caller{}, "no name of a thing"},
		{"a reserved name", aws.Config{}, cloudsim.Caller{Client: "$aws"}, "no name of a thing"},
		{"a wildcard", aws.Config{}, cloudsim.Caller{Client: "gw+"}, "no name of a thing"},
		{"another's certificate", aws.Config{}, cloudsim.Caller{Client: "gw-1", Certificate: named("gw-2")}, `of "gw-2"`},
		{"no certificate", strict, cloudsim.Caller{Client: "gw-1"}, "certificate is needed"},
		{"an unknown thing", known, cloudsim.Caller{Client: "gw-2"}, "no thing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := aws.New(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			device, until, err := c.Admit(tt.who)
			if tt.want == "" && (err != nil || device != tt.who.Client || !until.IsZero()) {
				t.Errorf("Admit = %q, %v, %v; want the thing, for as long as it likes", device, until, err)
			}
			if tt.want != "" && (!errors.Is(err, cloudsim.ErrRefused) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Admit = %v, want ErrRefused with %q", err, tt.want)
			}
		})
	}
}

func TestPermit(t *testing.T) {
	c, err := aws.New(aws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		topic   string
		publish bool
		want    cloudsim.Permission
	}{
		{"state/gw-1/update", true, cloudsim.Allowed},
		{"state/gw-1/get", true, cloudsim.Allowed},
		{"state/gw-1/update/accepted", true, cloudsim.Disconnect},
		{"state/gw-2/update", true, cloudsim.Disconnect},
		{"$aws/things/gw-1/shadow/update", true, cloudsim.Allowed},
		{"$aws/things/gw-1/shadow/delete", true, cloudsim.Allowed},
		{"$aws/things/gw-1/shadow/update/delta", true, cloudsim.Disconnect},
		{"$aws/things/gw-1/shadow/name/fw/update", true, cloudsim.Allowed},
		{"$aws/things/gw-1/shadow/name/f w/update", true, cloudsim.Disconnect},
		{"$aws/things/gw-1/jobs/start-next", true, cloudsim.Allowed},
		{"$aws/things/gw-1/jobs/$next/get", true, cloudsim.Allowed},
		{"$aws/things/gw-1/jobs/what/is/this", true, cloudsim.Allowed}, // answered InvalidTopic
		{"$aws/things/gw-1/jobs/notify-next", true, cloudsim.Disconnect},
		{"$aws/things/gw-1/jobs/j-1/update/accepted", true, cloudsim.Disconnect},
		{"$aws/things/gw-2/jobs/start-next", true, cloudsim.Disconnect},
		{"$aws/things/gw-1/streams/s-1/get/cbor", true, cloudsim.Allowed},
		{"$aws/things/gw-1/other/get", true, cloudsim.Disconnect},
		{"sensors/1", true, cloudsim.Disconnect},
		{"$aws/things/gw-1/jobs/+/update/accepted", false, cloudsim.Allowed},
		{"$aws/things/gw-1/jobs/notify-next", false, cloudsim.Allowed},
		{"$aws/things/gw-1/#", false, cloudsim.Allowed},
		{"state/gw-1/update/delta", false, cloudsim.Allowed},
		{"$aws/things/gw-2/jobs/notify", false, cloudsim.Refused},
		{"$aws/things/+/shadow/#", false, cloudsim.Refused},
		{"#", false, cloudsim.Refused},
	} {
		if got := c.Permit("gw-1", tt.topic, tt.publish); got != tt.want {
			t.Errorf("Permit(%s, publish %t) = %d, want %d", tt.topic, tt.publish, got, tt.want)
		}
	}
}

// A message of another device is nobody's, and one that is too long ends the connection.
func TestTakeKeepsOut(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	out, err := r.cloud.Take(cloudsim.Message{Device: "gw-2", Topic: "$aws/things/gw-1/shadow/update", Payload: []byte(`{"state":{"desired":{"a":1}}}`)})
	if out != nil || err != nil || len(r.Book().Devices()) != 0 {
		t.Errorf("Take of another device = %v, %v with records %q; want nothing", out, err, r.Book().Devices())
	}
	if got := r.say("$aws/things/gw-1/shadow/update", `{"state":{"desired":{"a":"`+strings.Repeat("x", 128<<10)+`"}}}`); got != nil {
		t.Errorf("Take of too much = %q, want nothing", got)
	}
	if got := r.events.texts(cloudsim.EventRefused); len(got) != 1 || !strings.Contains(got[0], "131") {
		t.Errorf("refusals = %q, want one with the size", got)
	}
}
