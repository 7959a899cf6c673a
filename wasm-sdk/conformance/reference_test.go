package conformance

import (
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// The host gives the answers that the contract says.
func TestReferenceGuest(t *testing.T) {
	m := load(t, ReferenceGuest())
	if err := m.Check(Allowed()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		phases []abi.Phase
	}{
		{"a whole update", nil},
		{"install and back", []abi.Phase{abi.Prepare, abi.Install, abi.Rollback}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := run(t, m, ReferenceSetup(), tt.phases...)
			if !o.Well() || o.Report.Details != "checked" && tt.phases == nil {
				t.Errorf("%s %s: %s, %s", o.Phase, o.end(), o.Reason(), o.Report.Details)
			}
			if got := o.Targets["out"]; tt.phases == nil && got.SHA256 != Bytes([]byte("456789")).SHA256() {
				t.Errorf("target out: %s", got)
			}
		})
	}
}

// A guest that is deceived says by what.
func TestReferenceGuestSeesAnotherAnswer(t *testing.T) {
	m := load(t, ReferenceGuest())
	for _, tt := range []struct {
		name   string
		change func(s *Setup)
		want   string
	}{
		{"another fact", func(s *Setup) { s.Facts["model"] = "referents" }, `a fact: want the bytes`},
		{"a longer fact", func(s *Setup) { s.Facts["model"] = "references" }, `a fact: want prop_get to answer 9`},
		{"another artifact", func(s *Setup) { s.Artifacts["image"] = Bytes([]byte("9876543210")) }, "the artifact's digest"},
		{"another target", func(s *Setup) {
			old := s.Targets["old"]
			old.Content = Bytes([]byte("after?"))
			s.Targets["old"] = old
		}, "its bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := ReferenceSetup()
			tt.change(&s)
			if o := run(t, m, s); !strings.Contains(o.Reason(), tt.want) {
				t.Errorf("%s, want %q", o.Reason(), tt.want)
			}
		})
	}
}

func TestReferenceGuestSurvivesKills(t *testing.T) {
	w, err := KillSweep(t.Context(), load(t, ReferenceGuest()), ReferenceSetup())
	if err != nil || len(w.Violations) > 0 || !w.Reference.Well() {
		t.Fatalf("%v, violations:\n%s", err, strings.Join(w.Violations, "\n"))
	}
	t.Logf("%d points, %d runs", w.Points, w.Runs)
}
