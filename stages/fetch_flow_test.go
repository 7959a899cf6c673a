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
