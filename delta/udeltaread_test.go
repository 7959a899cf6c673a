package delta

import (
	"errors"
	"testing"
)

// TestFramesAhead holds how many frames are decoded ahead to the limits.
func TestFramesAhead(t *testing.T) {
	h := &udeltaHeader{caps: udeltaCaps{Coded: 19, Raw: 20, Known: 20, Output: 23, Map: 20, Tables: 22}}
	most, least := h.caps.memory(1), h.caps.memory(0)
	for _, tt := range []struct {
		name   string
		limits Limits
		want   int
		err    error
	}{
		{"enough", Limits{Memory: most}, 1, nil},
		{"enough, but the least is wanted", Limits{Memory: most, Least: true}, 0, nil},
		{"a byte less than enough", Limits{Memory: most - 1}, 0, nil},
		{"just the least", Limits{Memory: least, Least: true}, 0, nil},
		{"too little", Limits{Memory: least - 1}, 0, ErrTooLarge},
		{"too little for the least", Limits{Memory: least - 1, Least: true}, 0, ErrTooLarge},
	} {
		if got, err := h.ahead(tt.limits); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d, %v; want %d, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}
