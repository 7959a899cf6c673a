package coder

import "testing"

// TestFinderAgainstSearch compares with looking at every earlier position. The
// longest match must be found wherever depth does not stop the search; a match
// of two or three bytes only at the latest place with these bytes.
func TestFinderAgainstSearch(t *testing.T) {
	for _, tt := range []struct {
		name    string
		window  []byte
		chained bool
	}{
		{"tree", random(1, 3000, 3), false},
		{"tree, sparse", sparse(2, 3000), false},
		{"tree, zeros", make([]byte, 500), false},
		{"chain", random(1, 3000, 3), true},
		{"chain, sparse", sparse(2, 3000), true},
		{"tree, three bytes", []byte("abc"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const nice = 40
			var f finder
			// What an earlier window left must not show.
			f.reset(random(3, 4000, 2), nice, 50, tt.chained)
			f.skip(4000)
			f.reset(tt.window, nice, len(tt.window), tt.chained)
			for at := range tt.window {
				limit := min(len(tt.window)-at, nice)
				longest := 0
				for p := range at {
					longest = max(longest, common(tt.window, p, at, limit))
				}
				if at%97 == 0 {
					f.skip(1)
					continue
				}
				got, last := 0, 1
				for _, m := range f.find() {
					if m.distance == 0 || int(m.distance) > at {
						t.Fatalf("at %d: distance %d", at, m.distance)
					}
					if n := common(tt.window, at-int(m.distance), at, limit); n != int(m.length) {
						t.Fatalf("at %d: %d bytes agree at distance %d, found %d", at, n, m.distance, m.length)
					}
					if int(m.length) <= last {
						t.Fatalf("at %d: length %d after %d", at, m.length, last)
					}
					last, got = int(m.length), int(m.length)
				}
				if limit >= 4 && longest >= 4 && got != longest {
					t.Fatalf("at %d: longest found %d, want %d", at, got, longest)
				}
			}
		})
	}
}
