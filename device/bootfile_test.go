package device

import (
	"fmt"
	"testing"
)

// TestStart has what a boot loader does with every kind of state.
func TestStart(t *testing.T) {
	for _, tt := range []struct {
		name string
		boot Boot
		want string
	}{
		{"nothing chosen", Boot{Active: "a", Good: []string{"a"}}, "a  0"},
		{"a trial", Boot{Active: "a", Next: "b", Tries: 2, Good: []string{"a"}}, "b b 1"},
		{"a trial again", Boot{Active: "b", Next: "b", Tries: 1, Good: []string{"a"}}, "b b 0"},
		{"a trial that is used up", Boot{Active: "b", Next: "b", Good: []string{"a"}}, "a b 0"},
		{"after the fall back", Boot{Active: "a", Next: "b", Good: []string{"a"}}, "a b 0"},
		{"the one proven last", Boot{Active: "c", Next: "c", Good: []string{"b", "a"}}, "a c 0"},
		{"a proven one on trial", Boot{Active: "b", Next: "b", Good: []string{"a", "b"}}, "a b 0"},
		{"only the one on trial is proven", Boot{Active: "c", Next: "b", Good: []string{"b"}}, "b b 0"},
		{"running from what is not proven", Boot{Active: "b", Good: []string{"a"}}, "a  0"},
		{"nothing proven", Boot{Active: "b", Next: "c"}, "b c 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bootTarget{Boot: tt.boot}
			b.start()
			if got := fmt.Sprintf("%s %s %d", b.Active, b.Next, b.Tries); got != tt.want {
				t.Errorf("active, next, tries = %s, want %s", got, tt.want)
			}
		})
	}
}
