package conformance

import (
	"strings"
	"testing"
)

// The host's services give the answers that the contract says, also after
// they were cut at any point.
func TestServicesGuest(t *testing.T) {
	wasm, err := ServicesGuest()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ServicesSetup()
	if err != nil {
		t.Fatal(err)
	}
	m := load(t, wasm)
	if o := run(t, m, s); !o.Well() {
		t.Fatalf("%s: %s", o.Phase, o.end())
	}
	w, err := KillSweep(t.Context(), m, s)
	if err != nil || len(w.Violations) > 0 {
		t.Errorf("%v, violations:\n%s", err, strings.Join(w.Violations, "\n"))
	}
	t.Logf("%d points, %d runs", w.Points, w.Runs)
	for _, fault := range Faults() {
		w, err := FaultSweep(t.Context(), m, s, fault)
		if err != nil || len(w.Violations) > 0 {
			t.Errorf("%s: %v, violations:\n%s", fault, err, strings.Join(w.Violations, "\n"))
		}
	}
}

// A guest that is deceived says by what.
func TestServicesGuestSeesAnotherAnswer(t *testing.T) {
	wasm, err := ServicesGuest()
	if err != nil {
		t.Fatal(err)
	}
	m := load(t, wasm)
	for role, want := range map[string]string{"patch": "patching", "packed": "inflating", "member": "its file", "folder": "unpacking"} {
		s, err := ServicesSetup()
		if err != nil {
			t.Fatal(err)
		}
		s.Artifacts[role] = Bytes([]byte("something else"))
		if o := run(t, m, s); o.Well() || !strings.Contains(o.Reason(), want) {
			t.Errorf("%s: %s, want %q", role, o.Reason(), want)
		}
	}
}
