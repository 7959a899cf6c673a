package process

import (
	"slices"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// A poll that brings what the one before brought is not shown, and one that
// brings something else is, also if it is what was there at first.
func TestWithoutPolls(t *testing.T) {
	down := func(topic, payload string) cloudsim.Line {
		return cloudsim.Line{Client: "gw-1", Direction: "down", Topic: topic, Payload: payload}
	}
	post := cloudsim.Line{Client: "gw-1", Direction: "up", Topic: "POST /a", Payload: "x"}
	idle, busy := down("GET / 200", "idle"), down("GET / 200", "busy")
	all := []cloudsim.Line{
		{Client: "gw-1", Direction: "up", Topic: "GET /"}, idle, idle, busy, down("GET /a 200", "do"), busy, down("GET /a 200", "do"),
		post, post, down("GET /softwaremodules/1/artifacts/f 200", ""), idle, down("GET /a 404", ""), down("GET /a 404", ""),
	}
	want := []cloudsim.Line{idle, busy, down("GET /a 200", "do"), post, post, idle, down("GET /a 404", "")}
	if got := withoutPolls(all); !slices.Equal(got, want) {
		t.Errorf("withoutPolls = %+v, want %+v", got, want)
	}
}

// Messages of opposite ways may cross; those of one way stay in their order.
func TestWays(t *testing.T) {
	const shown = "to gw-1 on a\n    1\nto gw-1 on b\n    2\nfrom gw-1 on c\n    3\nagain from gw-1 on c\n    3\n"
	for _, tt := range []struct {
		name, got string
		same      bool
	}{
		{"as shown", shown, true},
		{"crossed", "to gw-1 on a\n    1\nfrom gw-1 on c\n    3\nto gw-1 on b\n    2\nagain from gw-1 on c\n    3\n", true},
		{"out of order", "to gw-1 on b\n    2\nto gw-1 on a\n    1\nfrom gw-1 on c\n    3\nagain from gw-1 on c\n    3\n", false},
		{"one is missing", "to gw-1 on a\n    1\nfrom gw-1 on c\n    3\nagain from gw-1 on c\n    3\n", false},
		{"another payload", "to gw-1 on a\n    1\nto gw-1 on b\n    9\nfrom gw-1 on c\n    3\nagain from gw-1 on c\n    3\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if same := slices.Equal(ways(tt.got), ways(shown)); same != tt.same {
				t.Errorf("same = %v, want %v", same, tt.same)
			}
		})
	}
}
