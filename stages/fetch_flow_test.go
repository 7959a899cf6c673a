package stages

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/engine"
)

// TestFlow fetches a delta that is applied as it comes.
func TestFlow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(t *testing.T, r *rig, rel *release)
		asked string
		log   string
	}{
		{"delta", nil, viaDelta, "udelta delta of"},
		{"no room for the delta, which needs none", func(_ *testing.T, r *rig, rel *release) { r.fs.Capacity = int64(len(rel.base)) + 100<<10 }, viaDelta, "udelta delta of"},
		{"another base", func(t *testing.T, r *rig, rel *release) { r.put(t, "/dev/a.img", fill(3<<20, 9)) }, viaFull, "starts from another base"},
		{"the delta is not on the server", func(_ *testing.T, r *rig, rel *release) { delete(rel.files, "/image.zst") }, viaDelta + " image.bin", "the delta does not work"},
		{"the delta gives something else", func(t *testing.T, r *rig, rel *release) {
			other := bytes.Clone(rel.body)
			other[0]++
			rel.patch(t, makePatch(t, "udelta", rel.base[:2<<20], other))
		}, viaDelta + " image.bin", "the delta gives the SHA-256"},
		{"the delta is no delta", func(t *testing.T, r *rig, rel *release) { rel.patch(t, fill(1000, 7)) }, viaDelta + " image.bin", "corrupt delta"},
		{"the end of the delta has other bytes", func(_ *testing.T, r *rig, rel *release) {
			patch := bytes.Clone(rel.files["/image.zst"])
			patch[len(patch)-100]++
			rel.files["/image.zst"] = patch
		}, viaDelta + " image.bin", "corrupt delta"},
		{"each patch connection breaks off", func(_ *testing.T, r *rig, rel *release) {
			rel.broken = func(n int, w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/image.zst" {
					rel.f.file(w, q, rel.files["/image.zst"], rel.etag, 50_000)
				}
				return q.URL.Path == "/image.zst"
			}
		}, viaDelta, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			rel := newReleaseWith(t, r, "udelta")
			if tt.setup != nil {
				tt.setup(t, r, rel)
			}
			res, err := r.run(t, rel.fetch(r))
			if err != nil {
				t.Fatal(err)
			}
			if res.State != engine.Succeeded {
				t.Fatalf("run ended %s, code %q: %s\n%s", res.State, res.Code, res.Message, r.logs())
			}
			if !r.out.equal(rel.body) {
				t.Errorf("%d bytes came and are not the artifact", len(r.out.bytes))
			}
			if rel.asked() != tt.asked {
				t.Errorf("asked for %q, want %q", rel.asked(), tt.asked)
			}
			if !strings.Contains(r.logs(), tt.log) {
				t.Errorf("log %q, want %q in it", r.logs(), tt.log)
			}
			if strings.Contains(r.logs(), canary) {
				t.Errorf("a secret is in the log: %s", r.logs())
			}
		})
	}
}

// placeStream is a stream of which only the place counts.
type placeStream struct {
	engine.Stream
	at int64
}

func (s *placeStream) Mark() (engine.State, error) { return engine.State{Offset: s.at}, nil }

// TestSectionsKeepMaps has the reader of a patch come to the next regions while
// the output is still in one that is longer than what is kept of all sections.
func TestSectionsKeepMaps(t *testing.T) {
	in := &placeStream{}
	s := &sections{Stream: in}
	next := func(isMap bool) int64 {
		in.at += 100
		s.begins(in.at)
		if isMap {
			s.keeps(in.at)
		}
		return in.at
	}
	first := next(true)
	for range 2 * keptSections {
		next(false)
	}
	last := in.at
	second := next(true)
	next(false)
	third := next(true)
	for _, offset := range []int64{first, last, second, third} {
		if state, err := s.at(offset); err != nil || state.Offset != offset {
			t.Errorf("section at %d: state at %d, %v", offset, state.Offset, err)
		}
	}
	for range 1000 {
		next(true)
	}
	if _, err := s.at(first); err == nil || len(s.maps) > keptSections || len(s.states) > keptSections {
		t.Errorf("%d maps and %d sections are kept, %v", len(s.maps), len(s.states), err)
	}
}
