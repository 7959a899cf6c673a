package aws_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// What tests and demos look at: a push, its text acknowledgements, and the ends.
func TestSim(t *testing.T) {
	s, err := aws.Start(cloudsim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	say := func(topic, payload string) []string {
		t.Helper()
		out, err := s.Cloud.Take(cloudsim.Message{Device: "gw-1", Topic: topic, Payload: []byte(payload)})
		if err != nil {
			t.Fatal(err)
		}
		return lines(out)
	}
	if v, err := s.Push("gw-1", map[string]any{"jobID": "j-1", "softwareURL": "https://h/v2"}); v != 1 || err != nil {
		t.Fatalf("Push = %d, %v; want version 1", v, err)
	}
	if got := say("state/gw-1/update", "jobID:j-1 SUCCESS"); len(got) != 1 || !strings.HasPrefix(got[0], "state/gw-1/update/accepted ") || strings.Contains(got[0], "metadata") {
		t.Errorf("answers = %q, want an acceptance in the words of the pattern, and no delta", got)
	}
	if got := say("state/gw-1/update", "jobID:j-2FAILURE"); len(got) != 2 || !strings.HasPrefix(got[1], "state/gw-1/update/delta ") {
		t.Errorf("answers = %q, want an acceptance, and a delta of what is still desired", got)
	}
	if got := say("state/gw-1/get", "jobID:j-2FAILURE"); len(got) != 1 || !strings.HasPrefix(got[0], "state/gw-1/get/") {
		t.Errorf("answers = %q, want one to the question", got)
	}
	d, err := s.Wait(t.Context(), "gw-1", func(d aws.Device) bool { return len(d.Ends) == 2 })
	if err != nil || d.Version != 3 || d.Desired["jobID"] != "j-1" || d.Reported["jobID"] != "j-2" || d.Ends[0].Outcome != cloudsim.Succeeded || d.Ends[1].Outcome != cloudsim.Failed {
		t.Errorf("device = %+v, %v", d, err)
	}
	if got := s.Devices(); !slices.Equal(got, []string{"gw-1"}) {
		t.Errorf("devices = %q, want the one", got)
	}
	for name, desired := range map[string]map[string]any{"a/b": nil, "gw-1": {"f": func() {}}, "gw-2": {"a": strings.Repeat("x", 9000)}} {
		if _, err := s.Push(name, desired); !errors.Is(err, cloudsim.ErrConfig) {
			t.Errorf("Push(%s) = %v, want ErrConfig", name, err)
		}
	}
}

// An application reaches the things that there are.
func TestApplication(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{Accounts: cloudsim.Accounts{Devices: map[string]string{"gw-1": ""}}})
	for device, want := range map[string]int{"gw-1": 3, "gw-2": 0} {
		out, err := r.cloud.Take(cloudsim.Message{Topic: "$aws/things/" + device + "/shadow/update", Payload: []byte(`{"state":{"desired":{"a":1}}}`)})
		if err != nil || len(out) != want {
			t.Errorf("%s: %q, %v; want %d messages", device, lines(out), err, want)
		}
	}
	if got := r.Book().Devices(); !slices.Equal(got, []string{"gw-1"}) {
		t.Errorf("records = %q, want that of the known thing", got)
	}
}
