package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

func TestInstallCopiesTheImage(t *testing.T) {
	m := load(t, "install")
	if err := m.Check([]abi.Capability{abi.Artifact, abi.Target, abi.Services, abi.Resume}); err != nil {
		t.Fatal(err)
	}
	b := newBench(image(5*mib+123), device.Slots)
	sealed := 0
	b.grants.Sealed = func(_ context.Context) error { sealed++; return nil }
	r, err := Install(t.Context(), m, b.grants)
	if err != nil || r.Class != abi.OK {
		t.Fatalf("install = %v, %v; log %q", r.Class, err, b.log)
	}
	if got := b.door.stamps["rootfs@b"]; got.SHA256 != b.source.digest || got.Version != "2.0.0" || got.Source != "the-artifact" {
		t.Errorf("stamp = %+v, want digest %s", got, b.source.digest)
	}
	if sealed != 1 || r.Digests["out"] != b.source.digest || b.source.closed != b.source.opens {
		t.Errorf("sealed %d times, digests %v, %d of %d streams closed", sealed, r.Digests, b.source.closed, b.source.opens)
	}
	if len(b.door.handles) != 0 {
		t.Errorf("%d handles are still open", len(b.door.handles))
	}
	t.Logf("%d ops, %d checkpoints of at most %d bytes", b.door.ops, b.journal.saves, b.journal.most)
}

// attempt runs f and reports whether the power was cut in it.
func attempt(f func()) (cut bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != any(powerCut{}) {
				panic(p)
			}
			cut = true
		}
	}()
	f()
	return false
}

func TestPowerCutAtEachEffect(t *testing.T) {
	for _, tt := range []struct {
		guest string
		typ   device.Type
		size  int
	}{
		{"install", device.Slots, 3*mib + 777},
		{"tree", device.Directory, 190_001},
	} {
		t.Run(tt.guest, func(t *testing.T) {
			m := load(t, tt.guest)
			data := image(tt.size)
			whole := newBench(data, tt.typ)
			if _, err := Install(t.Context(), m, whole.grants); err != nil {
				t.Fatal(err)
			}
			want := whole.door.stamps["rootfs@b"].SHA256
			effects := whole.door.power.count
			worst := int64(0)
			for _, after := range []bool{false, true} {
				for n := range effects {
					b := newBench(data, tt.typ)
					*b.door.power = power{left: n, after: after}
					if !attempt(func() { Install(t.Context(), m, b.grants) }) {
						t.Fatalf("effect %d never came", n)
					}
					b.door.restart()
					if _, err := Install(t.Context(), m, b.grants); err != nil {
						t.Fatalf("after a cut at effect %d (after: %v): %v; log %q", n, after, err, b.log)
					}
					if got := b.door.stamps["rootfs@b"].SHA256; got != want {
						t.Fatalf("after a cut at effect %d (after: %v): digest %s, want %s", n, after, got, want)
					}
					worst = max(worst, b.source.read-int64(len(data)))
				}
			}
			t.Logf("%d effects cut twice; at most %d bytes read again; checkpoints up to %d bytes", effects, worst, whole.journal.most)
			if worst > 2*mib {
				t.Errorf("%d bytes were read again, want at most 2 MiB", worst)
			}
		})
	}
}

// The power is cut again and again, each time a few effects further on.
func TestPowerCutInEachAttempt(t *testing.T) {
	m := load(t, "install")
	data := image(5*mib + 1)
	for _, every := range []int{13, 17, 40} {
		b := newBench(data, device.Slots)
		attempts := 1
		for attempt(func() {
			*b.door.power = power{left: every, after: attempts%2 == 0}
			if _, err := Install(t.Context(), m, b.grants); err != nil {
				t.Fatal(err)
			}
		}) {
			b.door.restart()
			if attempts++; attempts > 100 {
				t.Fatalf("no end after %d attempts", attempts)
			}
		}
		if got := b.door.stamps["rootfs@b"].SHA256; got != b.source.digest {
			t.Errorf("digest %s, want %s", got, b.source.digest)
		}
		t.Logf("a cut every %d effects: %d attempts, %d bytes read for %d", every, attempts, b.source.read, len(data))
	}
}

// A module that declares random access gets sources that lie on a disk.
func TestRandomAccess(t *testing.T) {
	a := calls(op{"art_open", []int64{0, 5}}, op{"art_read", []int64{firstArtifact, 2, 16, 1}}, op{"art_read", []int64{firstArtifact, 0, 16, 2}},
		op{"art_read", []int64{firstArtifact, 3, 16, 1}})
	a.data = "image"
	a.manifest = func(m *abi.Manifest) {
		m.Access, m.Roles.Artifacts = abi.Random, []string{"image"}
	}
	b := newBench([]byte("123"), device.Slots)
	if _, err := try(t, a, abi.Install, Limits{}, b.grants); !errors.Is(err, Denied) {
		t.Errorf("a stream: %v, want denied", err)
	}
	b.grants.Sources["image"] = &stored{b.source, bytes.NewReader(b.source.data)}
	if r, err := try(t, a, abi.Install, Limits{}, b.grants); err != nil || r.Class != abi.OK || b.source.opens != 0 {
		t.Errorf("class %d, error %v, %d streams; want none", r.Class, err, b.source.opens)
	}
}

type stored struct {
	*memorySource
	io.ReaderAt
}

// The double for unit tests runs the same module; see its package.
func TestEveryMethodOfTheSDK(t *testing.T) {
	m := load(t, "every")
	b := newBench([]byte("0123456789"), device.File)
	b.grants.Targets["tree"] = Target{Ref: "app@run-1", Type: device.Directory, Mode: Write}
	b.grants.Facts = map[string]string{"model": "gw", "serial": "1"}
	b.grants.Settings = []byte(`{"slot": "b"}`)
	r, err := Install(t.Context(), m, b.grants)
	if err != nil || r.Report.Code != 7 || b.log[0] != "1 begin" {
		t.Fatalf("result %+v, error %v, log %q", r, err, b.log)
	}
	if r, err := m.Call(t.Context(), abi.Health, b.grants); err != nil || r.Class != abi.OK {
		t.Errorf("health: class %d, error %v", r.Class, err)
	}
}

// Calls of one module may overlap.
func TestCallsOverlap(t *testing.T) {
	m := load(t, "install")
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			b := newBench(image(mib+i), device.Slots)
			if _, err := Install(t.Context(), m, b.grants); err != nil || b.door.stamps["rootfs@b"].SHA256 != b.source.digest {
				t.Errorf("install %d: %v", i, err)
			}
		})
	}
	group.Wait()
}

// A directory of many files keeps the checkpoint small by forgetting closed ones.
func TestManyEntries(t *testing.T) {
	m := load(t, "tree")
	b := newBench(image(900*40_000), device.Directory)
	if _, err := Install(t.Context(), m, b.grants); err != nil {
		t.Fatal(err)
	}
	delete(b.door.live, "rootfs@b") // the folder itself
	if n := len(b.door.live); n != 900 || b.journal.most > checkpointSize {
		t.Errorf("%d files, want 900; checkpoints up to %d bytes, want at most %d", n, b.journal.most, checkpointSize)
	}
	t.Logf("checkpoints up to %d bytes", b.journal.most)
}

func TestHostErrorsComeThroughTheGuest(t *testing.T) {
	m := load(t, "install")
	var retry *retryError
	b := newBench(image(2*mib), device.Slots)
	b.source.err = &retryError{"server went away"}
	_, err := Install(t.Context(), m, b.grants)
	if !errors.Is(err, HostIO) || !errors.As(err, &retry) {
		t.Errorf("error = %v, want host-io around the source's own", err)
	}
	b.source.err = nil
	b.door.fail[device.Write] = device.ErrQuota
	if _, err := Install(t.Context(), m, b.grants); !errors.Is(err, HostIO) || !errors.Is(err, device.ErrQuota) {
		t.Errorf("error = %v, want host-io around the door's own", err)
	}
	clear(b.door.fail)
	b.journal.err = errors.New("disk full")
	if _, err := Install(t.Context(), m, b.grants); !errors.Is(err, b.journal.err) {
		t.Errorf("error = %v, want the journal's own", err)
	}
	b.journal.err = nil
	b.grants.Sealed = func(context.Context) error { return &retryError{"a late digest"} }
	if _, err := Install(t.Context(), m, b.grants); !errors.As(err, &retry) {
		t.Errorf("error = %v, want that of Sealed", err)
	}
	b.grants.Sealed = nil
	if _, err := Install(t.Context(), m, b.grants); err != nil {
		t.Error(err)
	}
}

type retryError struct{ text string }

func (r *retryError) Error() string { return r.text }
