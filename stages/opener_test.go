package stages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// shelf is an opener whose files end where faults say.
type shelf struct {
	body   []byte
	size   int64        // -1 if it says none
	faults []shelfFault // of the openings one after the other; then there are none
	asked  []int64      // offsets
	runs   []string
	wrong  []byte // what the first opening gives instead
}

// shelfFault ends an opening after some bytes, or before it is one.
type shelfFault struct {
	after int // bytes; -1: Open fails
	err   error
	hang  func(ctx context.Context) error // instead of err
}

func (f shelfFault) end(ctx context.Context) error {
	if f.hang != nil {
		return f.hang(ctx)
	}
	return f.err
}

func (s *shelf) Open(ctx context.Context, run, address string, from int64) (io.ReadCloser, int64, error) {
	if address != "shelf:a/1?"+canary {
		return nil, 0, fmt.Errorf("asked for %q", address)
	}
	n := len(s.asked)
	s.asked, s.runs = append(s.asked, from), append(s.runs, run)
	body := s.body
	if n == 0 && s.wrong != nil {
		body = s.wrong
	}
	if n >= len(s.faults) {
		return io.NopCloser(bytes.NewReader(body[from:])), s.size, nil
	}
	if f := s.faults[n]; f.after < 0 {
		return nil, 0, f.end(ctx)
	} else {
		return io.NopCloser(io.MultiReader(bytes.NewReader(body[from:from+int64(f.after)]), ending{func() error { return f.end(ctx) }})), s.size, nil
	}
}

// ending is a reader that only has an error.
type ending struct{ end func() error }

func (e ending) Read([]byte) (int, error) { return 0, e.end() }

// TestOpener: addresses of another scheme are fetched by their opener, under
// the rules that hold for HTTP.
func TestOpener(t *testing.T) {
	body := bytes.Repeat([]byte("blocks of a file, "), 200_000)
	cut := &engine.Retry{Err: &engine.Failure{Code: "network", Err: errors.New("cut")}}
	gone := &engine.Failure{Code: "not_found", Err: errors.New("ResourceNotFound: no such stream")}
	for _, tt := range []struct {
		name    string
		change  func(r *rig, s *shelf)
		retries int
		code    string
		says    string // part of the message
		asked   string
	}{
		{name: "whole", asked: "[0]"},
		{name: "of unknown size", change: func(_ *rig, s *shelf) { s.size = -1 }, asked: "[0]"},
		{name: "cut twice, goes on", retries: 5, asked: "[0 2000000 2500000]", change: func(_ *rig, s *shelf) {
			s.faults = []shelfFault{{after: 2_000_000, err: cut}, {after: 500_000, err: errors.New("cut in other words")}}
		}},
		{name: "cut without a retry word", code: "network", says: "cut", asked: "[0]", change: func(_ *rig, s *shelf) {
			s.faults = []shelfFault{{after: 2_000_000, err: cut}}
		}},
		{name: "not there", retries: 5, code: "not_found", says: "ask shelf:a/1: ResourceNotFound: no such stream", asked: "[0]", change: func(_ *rig, s *shelf) {
			s.faults = []shelfFault{{after: -1, err: gone}}
		}},
		{name: "gone on the way", retries: 5, code: "not_found", says: "ResourceNotFound", asked: "[0]", change: func(_ *rig, s *shelf) {
			s.faults = []shelfFault{{after: 70_000, err: gone}}
		}},
		{name: "another file on the way", asked: "[0 0]", change: func(_ *rig, s *shelf) {
			s.wrong = bytes.ToUpper(s.body)
			s.faults = []shelfFault{{after: 2_000_000, err: &engine.Retry{Fresh: true, Err: errors.New("VersionMismatch")}}}
		}},
		{name: "another size", code: "size", says: "shelf:a/1 has 7 bytes", asked: "[0]", change: func(_ *rig, s *shelf) { s.size = 7 }},
		{name: "other bytes", code: "digest", says: "want", asked: "[0]", change: func(_ *rig, s *shelf) { s.wrong = bytes.ToUpper(s.body) }},
		{name: "ends early", code: "size", says: "ended after", asked: "[0]", change: func(_ *rig, s *shelf) {
			s.faults = []shelfFault{{after: 70_000, err: io.EOF}}
		}},
		{name: "is more", code: "size", says: "more than", asked: "[0]", change: func(_ *rig, s *shelf) {
			s.size, s.wrong = -1, append(slices.Clone(s.body), '!')
		}},
		{name: "no answer", retries: 2, code: "network", says: "no answer within 30s", asked: "[0 0 0]", change: func(r *rig, s *shelf) {
			silent := shelfFault{after: -1, hang: func(ctx context.Context) error {
				r.clock.Advance(31 * time.Second)
				<-ctx.Done()
				return ctx.Err()
			}}
			s.faults = []shelfFault{silent, silent, silent}
		}},
		{name: "falls silent", code: "slow", says: "shelf:a/1 sends less than 30720 bytes in 30s", asked: "[0]", change: func(r *rig, s *shelf) {
			s.faults = []shelfFault{{after: 1000, hang: func(ctx context.Context) error {
				for ctx.Err() == nil {
					r.clock.Advance(time.Second)
				}
				return context.Cause(ctx)
			}}}
		}},
		{name: "an opener that nobody has", code: "address", says: `nothing here fetches the scheme "shelf"`, asked: "[]", change: func(r *rig, _ *shelf) { r.c.Openers = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			s := &shelf{body: body, size: int64(len(body))}
			r.c.Openers = map[string]Opener{"shelf": s}
			r.retry = engine.RetryPolicy{Max: tt.retries, Backoff: time.Second}
			if tt.change != nil {
				tt.change(r, s)
			}
			res := r.must(t, tt.code, body, r.fetch("shelf:a/1?"+canary, body))
			if !strings.Contains(res.Message, tt.says) {
				t.Errorf("message %q, want %q in it", res.Message, tt.says)
			}
			if got := fmt.Sprint(s.asked); got != tt.asked {
				t.Errorf("asked from %s, want %s", got, tt.asked)
			}
			if i := slices.IndexFunc(s.runs, func(run string) bool { return run != r.id }); i >= 0 {
				t.Errorf("asked for run %q, want %q", s.runs[i], r.id)
			}
		})
	}
}

// TestOpenerCancelled: the end of the context ends an opening and a read at once.
func TestOpenerCancelled(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	for _, after := range []int{-1, 70_000} {
		t.Run(fmt.Sprint("after ", after), func(t *testing.T) {
			r := newRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r.ctx = ctx
			r.c.Openers = map[string]Opener{"shelf": &shelf{body: body, size: int64(len(body)), faults: []shelfFault{{after: after, hang: func(ctx context.Context) error {
				cancel()
				<-ctx.Done()
				return errors.New("something else")
			}}}}}
			if res, err := r.run(t, r.fetch("shelf:a/1?"+canary, body)); !errors.Is(err, context.Canceled) {
				t.Errorf("run: %+v, %v; want it stopped", res, err)
			}
			r.ctx = t.Context()
			r.must(t, "", body, func() engine.Filter {
				r.c.Openers = map[string]Opener{"shelf": &shelf{body: body, size: int64(len(body))}}
				return r.fetch("shelf:a/1?"+canary, body)()
			})
		})
	}
}

// TestOpenerOfACancelledRun: whoever cancels a run need not wait for a server that says nothing.
func TestOpenerOfACancelledRun(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	for _, after := range []int{-1, 0, 70_000} {
		t.Run(fmt.Sprint("after ", after), func(t *testing.T) {
			r := newRig(t)
			passed := time.Duration(0)
			r.c.Openers = map[string]Opener{"shelf": &shelf{body: body, size: int64(len(body)), faults: []shelfFault{{after: after, hang: func(ctx context.Context) error {
				if err := engine.Cancel(r.fs, "/state", r.id); err != nil {
					t.Error(err)
				}
				for ; ctx.Err() == nil; passed += 100 * time.Millisecond {
					r.clock.Advance(100 * time.Millisecond)
					time.Sleep(time.Millisecond) // the run's goroutine looks at that time
				}
				return ctx.Err()
			}}}}}
			res, err := r.run(t, r.fetch("shelf:a/1?"+canary, body))
			if err != nil || res.State != engine.Cancelled || passed > 5*time.Second {
				t.Errorf("run ended %s after %v, %v; want cancelled after about a second", res.State, passed, err)
			}
		})
	}
}

// TestCheckSchemes: a check knows what can be fetched.
func TestCheckSchemes(t *testing.T) {
	for _, tt := range []struct{ url, manifest, want string }{
		{url: "https://h/f"}, {url: "HTTP://h/f"}, {url: "file:///f"}, {url: "f/a:b"}, {url: "c:\\f"}, {url: "f"}, {url: "shelf:a/1"}, {url: "Shelf:a/1"},
		{url: "${{ inputs.url }}"}, {url: "${{ facts.a == \"x:y\" ? inputs.b : inputs.c }}"}, {url: "shelf:${{ inputs.a }}/1"},
		{url: "aws-stream:s/0", want: `url: nothing here fetches the scheme "aws-stream", want a path or a URL of file, http, https, shelf: `},
		{url: "ftp://h/f", want: `url: nothing here fetches the scheme "ftp", `},
		{manifest: "shelf:a/1", want: `manifest: has the scheme "shelf", want a path or a URL of file, http, https`},
	} {
		for _, strict := range []bool{true, false} {
			f := &Fetch{URL: tt.url, Manifest: tt.manifest, c: &Config{Openers: map[string]Opener{"shelf": &shelf{}}, CheckSchemes: strict}}
			if tt.manifest != "" {
				f.Artifact = "image"
			}
			var got []string
			f.Check(func(field, text string) { got = append(got, field+": "+text) })
			if text := strings.Join(got, "; "); (strict && tt.want != "") != (text != "") || strict && !strings.HasPrefix(text, tt.want) {
				t.Errorf("%q%q, strict %t: %q, want %q…", tt.url, tt.manifest, strict, text, tt.want)
			}
		}
	}
}
