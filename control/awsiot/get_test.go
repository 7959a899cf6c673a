package awsiot

import (
	"encoding/json"
	"os"
	"testing"
)

// TestDifferences holds the differences that are found in a whole document to
// those that a service has published for it.
func TestDifferences(t *testing.T) {
	text, err := os.ReadFile("testdata/examples/aws-shadow-delta.json")
	if err != nil {
		t.Fatal(err)
	}
	var example struct {
		Cases []struct {
			State struct {
				Desired, Reported, Delta map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(text, &example); err != nil || len(example.Cases) == 0 {
		t.Fatalf("%d cases, %v", len(example.Cases), err)
	}
	object := func(text string) (m map[string]json.RawMessage) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	check := func(desired, reported, want map[string]json.RawMessage) {
		t.Helper()
		if got, want := string(marshal(differences(desired, reported))), string(marshal(want)); got != want {
			t.Errorf("desired %s, reported %s: differences %s, want %s", marshal(desired), marshal(reported), got, want)
		}
	}
	for _, c := range example.Cases {
		check(c.State.Desired, c.State.Reported, c.State.Delta)
		check(c.State.Desired, c.State.Desired, object(`{}`))
	}
	check(object(`{"a": 1, "b": [1, 2], "c": {"x": 1, "y": 2}}`), object(`{"b": [1,2], "c": {"y": 2, "x": 1}, "d": 4}`), object(`{"a": 1}`))
	check(object(`{"b": [1, 2]}`), object(`{"b": [2, 1]}`), object(`{"b": [1, 2]}`))
}
