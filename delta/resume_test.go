package delta

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// marks reads the new file in portions and gives the position after each.
func marks(t *testing.T, r io.Reader, step func() int) (all []Position) {
	t.Helper()
	for {
		pos, err := r.(Marker).Mark()
		if err != nil {
			t.Fatal(err)
		}
		if len(pos.State) > MaxState {
			t.Fatalf("a state of %d bytes", len(pos.State))
		}
		all = append(all, pos)
		if n, err := io.CopyN(io.Discard, r, int64(step())); err != nil && err != io.EOF {
			t.Fatal(err)
		} else if n == 0 {
			return all
		}
	}
}

func TestResume(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	old := randomBytes(rnd, 60_000)
	upd := mutated(rnd, old, 50_000)
	f := lookup(t, "udelta")
	oldImage, updImage := images()
	for what, tt := range map[string]struct{ old, upd, patch []byte }{
		"one frame":      {old, upd, mustMake(t, f, old, upd, Default)},
		"several frames": {old, upd, makeSmall(t, old, upd)},
		"identical":      {old, old, makeSmall(t, old, old)},
		"empty":          {old, nil, makeSmall(t, old, nil)},
		"elements":       {oldImage, updImage, makeSmall(t, oldImage, updImage)},
	} {
		t.Run(what, func(t *testing.T) {
			old := tt.old
			sections, maps := map[int64]bool{}, map[int64]bool{0: true}
			limits := Limits{Size: int64(len(tt.upd)), Frame: func(at int64) { sections[at] = true }, Kept: func(at int64) { maps[at] = true }}
			r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(tt.patch), limits)
			if err != nil {
				t.Fatal(err)
			}
			all := marks(t, r, func() int { return 1 + rnd.IntN(3000) })
			r.Close()
			limits.Frame, limits.Kept = nil, nil
			inMaps := false
			for _, pos := range all {
				if !sections[pos.Patch] || !maps[pos.Map.At] {
					t.Fatalf("position %d is at %d of the patch, where no section was announced", pos.Output, pos.Patch)
				}
				inMaps = inMaps || pos.Map.Length > 0
				patch := io.MultiReader(bytes.NewReader(tt.patch[pos.Map.At:][:pos.Map.Length]), bytes.NewReader(tt.patch[pos.Patch:]))
				r, err := f.Resume(t.Context(), bytes.NewReader(old), int64(len(old)), patch, pos, limits)
				if err != nil {
					t.Fatalf("at %d: %v", pos.Output, err)
				}
				again, err := r.(Marker).Mark()
				if err != nil || again.Output != pos.Output || again.Patch != pos.Patch || again.Map != pos.Map || !bytes.Equal(again.State, pos.State) {
					t.Errorf("at %d: marked again: %d, %d, %v", pos.Output, again.Output, again.Patch, err)
				}
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, tt.upd[pos.Output:]) {
					t.Errorf("at %d: %d bytes, %v, want %d", pos.Output, len(got), err, len(tt.upd)-int(pos.Output))
				}
				r.Close()
			}
			if inMaps != (what == "elements") {
				t.Errorf("positions inside of regions: %v", inMaps)
			}
			last := all[len(all)-1]
			if last.Output != int64(len(tt.upd)) {
				t.Errorf("the last position is %d of %d", last.Output, len(tt.upd))
			}
		})
	}
}

// TestResumeTwice goes on from a position of a reader that was itself resumed.
func TestResumeTwice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	old := randomBytes(rnd, 60_000)
	upd := mutated(rnd, old, 50_000)
	f, patch := lookup(t, "udelta"), makeSmall(t, old, upd)
	r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: AnySize})
	var got []byte
	for err == nil {
		b := make([]byte, rnd.IntN(9000))
		n, _ := io.ReadFull(r, b)
		got = append(got, b[:n]...)
		var pos Position
		if pos, err = r.(Marker).Mark(); err != nil {
			break
		}
		r.Close()
		if pos.Output == int64(len(upd)) {
			break
		}
		r, err = f.Resume(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch[pos.Patch:]), pos, Limits{Size: AnySize, OldChecked: true})
	}
	if err != nil || !bytes.Equal(got, upd) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(upd))
	}
}

func TestResumeWrong(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	old := randomBytes(rnd, 60_000)
	upd := mutated(rnd, old, 50_000)
	f, patch := lookup(t, "udelta"), makeSmall(t, old, upd)
	r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: AnySize})
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, r, 20_000)
	pos, err := r.(Marker).Mark()
	if err != nil {
		t.Fatal(err)
	}
	resume := func(pos Position, patch []byte, limits Limits) error {
		r, err := f.Resume(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), pos, limits)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	rest, any := patch[pos.Patch:], Limits{Size: AnySize}
	if err := resume(pos, rest, any); err != nil {
		t.Fatal(err)
	}
	for i := range pos.State {
		bad := pos
		bad.State = bytes.Clone(pos.State)
		bad.State[i] ^= 1
		if err := resume(bad, rest, any); !errors.Is(err, ErrPosition) {
			t.Errorf("byte %d of the state flipped: %v, want ErrPosition", i, err)
		}
		bad.State = pos.State[:i]
		if err := resume(bad, rest, any); !errors.Is(err, ErrPosition) {
			t.Errorf("state cut at %d: %v, want ErrPosition", i, err)
		}
	}
	other := slices.Clone(upd)
	other[len(other)-1]++
	for _, tt := range []struct {
		name string
		got  error
		want error
	}{
		{"other output", resume(Position{Output: pos.Output + 1, Patch: pos.Patch, Map: pos.Map, State: pos.State}, rest, any), ErrPosition},
		{"other place", resume(Position{Output: pos.Output, Patch: pos.Patch + 1, Map: pos.Map, State: pos.State}, rest, any), ErrPosition},
		{"other size", resume(pos, rest, Limits{Size: 5}), ErrPosition},
		{"patch from its start", resume(pos, patch, any), ErrCorrupt},
		{"patch of another file", resume(pos, makeSmall(t, old, other)[pos.Patch:], any), ErrCorrupt},
		{"patch cut", resume(pos, rest[:len(rest)-1], any), ErrCorrupt},
	} {
		if !errors.Is(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	r.Close()
	if _, err := r.(Marker).Mark(); err == nil {
		t.Error("a closed reader can be marked")
	}
	if _, err := lookup(t, "zstd").Resume(t.Context(), nil, 0, nil, pos, any); err == nil || !strings.Contains(err.Error(), "no positions") {
		t.Errorf("resume zstd: %v", err)
	}
}
