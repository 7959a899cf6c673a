package stages

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

func compressed(t *testing.T, name string, body []byte) []byte {
	t.Helper()
	c, err := codec.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := codec.NewWriter(&out, c, codec.Options{Size: int64(len(body))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(body)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestInflate(t *testing.T) {
	body := bytes.Repeat(fill(100_000, 1), 12)
	gz, zst := compressed(t, "gzip", body), compressed(t, "zstd", body)
	size := int64(len(body))
	for _, tt := range []struct {
		name    string
		inflate Inflate
		serve   []byte
		cut     bool // in the midst, by a loss of power
		code    string
	}{
		{"gzip", Inflate{Size: size}, gz, false, ""},
		{"zstd, by name and digest", Inflate{Size: size, Format: "zstd", SHA256: hexOf(body)}, zst, false, ""},
		{"going on after a loss of power", Inflate{Size: size, SHA256: hexOf(body)}, zst, true, ""},
		{"another format", Inflate{Size: size, Format: "xz"}, gz, false, "inflate"},
		{"not compressed", Inflate{Size: size}, body[:5000], false, "inflate"},
		{"nothing", Inflate{Size: size}, nil, false, "inflate"},
		{"cut short", Inflate{Size: size}, gz[:len(gz)-1], false, "inflate"},
		{"more than declared", Inflate{Size: size - 1}, zst, false, "inflate"},
		{"less than declared", Inflate{Size: size + 1}, zst, false, "inflate"},
		{"another digest", Inflate{Size: size, SHA256: hexOf(gz)}, gz, false, "digest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) { f.file(w, q, tt.serve, `"1"`, whole) })
			r := newRig(t)
			r.c.Trust = trust.Policy{Require: trust.None}
			fetch := func() engine.Filter {
				return &Fetch{c: &r.c, URL: f.url + "/x", Size: int64(len(tt.serve)), SHA256: hexOf(tt.serve)}
			}
			inflate := func() engine.Filter {
				i := tt.inflate
				i.c, i.Artifact = &r.c, "f0"
				return &i
			}
			if tt.cut {
				ctx, cancel := context.WithCancel(t.Context())
				r.ctx, r.tell = ctx, func(e engine.Event) {
					if e.Kind == engine.EventProgress && e.Done > 0 {
						cancel()
					}
				}
				if _, err := r.run(t, fetch, inflate); !errors.Is(err, context.Canceled) {
					t.Fatalf("run: %v, want it stopped", err)
				}
				r.fs.Cut(disk.Power)
				r.ctx, r.tell = t.Context(), nil
			}
			res, err := r.run(t, fetch, inflate)
			if err != nil || res.Code != tt.code {
				t.Fatalf("run = %+v, %v, want code %q", res, err, tt.code)
			}
			if tt.code == "" && !r.out.equal(body) {
				t.Errorf("%d bytes came and are not the artifact", len(r.out.bytes))
			}
		})
	}
}
