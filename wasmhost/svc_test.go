package wasmhost

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestHash(t *testing.T) {
	data := image(3*mib + 7)
	b := newBench(data, device.Slots)
	b.door.live["live"] = data[:mib]
	b.grants.Targets["live"] = Target{Ref: "live", Type: device.File, Mode: Read}
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		art, old := s.must("art_open", "image"), s.must("tgt_open", "live", abi.ModeRead)
		sum := make([]byte, 64)
		for _, tt := range []struct {
			off, count int
			want       string
		}{{0, -1, sha(data[:mib])}, {5, -1, sha(data[5:mib])}, {1000, 70_000, sha(data[1000:71_000])}, {0, 0, sha(nil)}, {mib, -1, sha(nil)}} {
			if s.want(64, "svc_hash", old, tt.off, tt.count, abi.SHA256, sum); string(sum) != tt.want {
				t.Errorf("hash of %d bytes at %d = %s, want %s", tt.count, tt.off, sum, tt.want)
			}
		}
		s.want(abi.EINVAL, "svc_hash", old, 0, mib+1, abi.SHA256, sum)
		s.want(abi.EINVAL, "svc_hash", old, -1, 1, abi.SHA256, sum)
		s.want(abi.EINVAL, "svc_hash", old, 0, -2, abi.SHA256, sum)
		s.want(abi.EINVAL, "svc_hash", old, 0, 1, 9, sum)
		s.want(128, "svc_hash", old, 0, 1, abi.SHA512, sum) // and nothing was written or read
		if got := s.text("svc_hash", old, 0, 3, abi.MD5); len(got) != 32 {
			t.Errorf("md5 = %q", got)
		}
		s.want(64, "svc_hash", art, 0, -1, abi.SHA256, make([]byte, 0))
		if s.want(64, "svc_hash", art, 9, -1, abi.SHA256, sum); string(sum) != sha(data[9:]) {
			t.Errorf("hash of the stream = %s", sum)
		}
		s.want(abi.ESEQ, "svc_hash", art, 0, -1, abi.SHA256, sum)
		out := s.must("tgt_open", "out", abi.ModeWrite)
		s.want(abi.EDENIED, "svc_hash", out, 0, -1, abi.SHA256, sum)
		if !trapped(func() { s.ask("svc_hash", 77, 0, -1, abi.SHA256, sum) }) {
			t.Error("a guessed handle did not trap")
		}
		s.c.g.Cancelled = func() bool { return true }
		s.want(abi.ECANCELED, "svc_hash", old, 0, -1, abi.SHA256, sum)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	secret, public, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data := image(mib)
	sig, err := trust.Sign(bytes.NewReader(data), secret, "for the test", "")
	if err != nil {
		t.Fatal(err)
	}
	key := string(public.Encode())
	b := newBench(data, device.Slots)
	b.door.live["live"] = append(bytes.Clone(data[:mib-1]), 0)
	b.grants.Targets["live"] = Target{Ref: "live", Type: device.File, Mode: Read}
	err = run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		art, old := s.must("art_open", "image"), s.must("tgt_open", "live", abi.ModeRead)
		legacy := strings.Replace(string(sig), "RU", "RW", 1)
		s.want(abi.EBADDATA, "svc_verify", old, sig, key)
		s.want(abi.EBADDATA, "svc_verify", art, sig, string(other.Encode()))
		s.want(abi.EBADDATA, "svc_verify", art, "no signature", key)
		s.want(abi.EBADDATA, "svc_verify", art, legacy, key)
		s.want(abi.EINVAL, "svc_verify", art, sig, "no key")
		// None of these spent the stream.
		s.want(0, "svc_verify", art, sig, public.String())
	})
	if err != nil {
		t.Error(err)
	}
}

// packed compresses with a codec that can; the others have files of their own.
func packed(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	c, err := codec.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := codec.NewWriter(&out, c, codec.Options{Size: int64(len(data))})
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestInflate(t *testing.T) {
	data := bytes.Repeat(image(100_000), 30)
	zst := packed(t, "zstd", data)
	for _, tt := range []struct {
		name  string
		file  []byte
		kind  int
		quota int64
		want  any
	}{
		{"zstd", zst, abi.InflateZstd, 0, len(data)},
		{"gzip", packed(t, "gzip", data), abi.InflateGzip, 0, len(data)},
		{"recognised", zst, 0, int64(len(data)), len(data)},
		{"another format", zst, abi.InflateGzip, 0, abi.EBADDATA},
		{"no format", data, 0, 0, abi.EBADDATA},
		{"an unknown number", zst, 6, 0, abi.EINVAL},
		{"cut off", zst[:len(zst)-9], 0, 0, abi.EBADDATA},
		{"followed by more", append(bytes.Clone(zst), 1), 0, 0, abi.EBADDATA},
		{"a bomb", packed(t, "zstd", make([]byte, 64*mib)), 0, mib, abi.EQUOTA},
		{"a huge window", []byte("\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00"), 0, 0, abi.EQUOTA},
		{"nothing", nil, 0, 0, abi.EBADDATA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(tt.file, device.File)
			b.grants.Targets["out"] = Target{Ref: "out", Type: device.File, Mode: Write, Quota: tt.quota}
			err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
				out := s.must("tgt_open", "out", abi.ModeWrite)
				s.want(tt.want, "svc_inflate", tt.kind, s.must("art_open", "image"), out)
				if n, ok := tt.want.(int); ok {
					s.want(n, "svc_inflate", tt.kind, s.must("art_open", "image"), out) // again: it is done
				}
			})
			if err != nil {
				t.Error(err)
			}
			if _, ok := tt.want.(int); ok && !bytes.Equal(b.door.staged["out"].durable, data) {
				t.Errorf("%d bytes came out", len(b.door.staged["out"].durable))
			}
			if tt.want == abi.EQUOTA && b.door.staged["out"] != nil && len(b.door.staged["out"].now) > mib {
				t.Errorf("%d bytes came out", len(b.door.staged["out"].now))
			}
		})
	}
}

func patchOf(t *testing.T, format string, old, new []byte) []byte {
	t.Helper()
	f, err := delta.Lookup(format)
	if err != nil {
		t.Fatal(err)
	}
	section := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	var out bytes.Buffer
	if _, err := delta.Make(t.Context(), f, &out, section(old), section(new), delta.Options{}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func newer(old []byte) []byte {
	new := append(bytes.Clone(old[mib:]), old[:mib]...)
	for i := 5000; i < len(new); i += 50_001 {
		new[i] ^= 0x55
	}
	return new
}

func TestPatch(t *testing.T) {
	old := image(3 * mib)
	new := newer(old)
	udelta, zstd := patchOf(t, "udelta", old, new), patchOf(t, "zstd", old, new)
	damaged := bytes.Clone(udelta)
	damaged[len(damaged)/2] ^= 1
	for _, tt := range []struct {
		name  string
		kind  int
		patch []byte
		old   []byte
		want  any
	}{
		{"udelta", abi.PatchUdelta, udelta, old, len(new)},
		{"udelta, recognised", 0, udelta, old, len(new)},
		{"zstd, recognised", 0, zstd, old, len(new)},
		{"of the same", 0, patchOf(t, "udelta", old, old), old, len(old)},
		{"another format", abi.PatchBsdiff, udelta, old, abi.EBADDATA},
		{"no patch", 0, old, old, abi.EBADDATA},
		{"an unknown number", 5, udelta, old, abi.EINVAL},
		{"another old file", 0, udelta, new, abi.EBADDATA},
		{"a shorter old file", 0, udelta, old[:mib], abi.EBADDATA},
		{"cut off", 0, udelta[:len(udelta)-100], old, abi.EBADDATA},
		{"damaged", 0, damaged, old, abi.EBADDATA},
		{"followed by more", 0, append(bytes.Clone(udelta), 0), old, abi.EBADDATA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(tt.patch, device.File)
			b.door.live["old"] = tt.old
			b.grants.Targets["old"] = Target{Ref: "old", Type: device.File, Mode: Read}
			b.grants.Targets["out"] = Target{Ref: "out", Type: device.File, Mode: Write, Quota: int64(len(new))}
			err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
				s.want(tt.want, "svc_patch", tt.kind, s.must("tgt_open", "old", abi.ModeRead), s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
			})
			if err != nil {
				t.Error(err)
			}
			want := new
			if tt.name == "of the same" {
				want = old
			}
			if _, ok := tt.want.(int); ok && !bytes.Equal(b.door.staged["out"].durable, want) {
				t.Errorf("%d bytes came out", len(b.door.staged["out"].durable))
			}
		})
	}
	t.Run("from artifacts", func(t *testing.T) {
		b := newBench(udelta, device.File)
		was := newSource(old)
		b.grants.Sources["image"], b.grants.Sources["old"] = &stored{b.source, bytes.NewReader(udelta)}, &stored{was, bytes.NewReader(old)}
		b.grants.Targets["out"] = Target{Ref: "out", Type: device.File, Mode: Write, Quota: int64(len(new)) - 1}
		err := run(t, abi.Install, plain(abi.Random), &b.grants, func(s *script) {
			base, patch, out := s.must("art_open", "old"), s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite)
			s.want(abi.EINVAL, "svc_patch", 0, patch, patch, out)
			s.want(abi.EQUOTA, "svc_patch", 0, base, patch, out)
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("a stream as the old file", func(t *testing.T) {
		b := newBench(udelta, device.File)
		b.grants.Sources["old"] = newSource(old)
		err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
			s.want(abi.EINVAL, "svc_patch", 0, s.must("art_open", "old"), s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("a source that fails", func(t *testing.T) {
		b := newBench(udelta, device.File)
		b.source.err = errors.New("the server went away")
		b.door.live["old"] = old
		b.grants.Targets["old"] = Target{Ref: "old", Type: device.File, Mode: Read}
		b.grants.Targets["out"] = Target{Ref: "out", Type: device.File, Mode: Write}
		err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
			s.want(abi.EIO, "svc_patch", 0, s.must("tgt_open", "old", abi.ModeRead), s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
		})
		if !errors.Is(err, b.source.err) {
			t.Errorf("error = %v, want the source's own", err)
		}
	})
}

// bursting is a source whose stream panics after its head.
type bursting struct{ *memorySource }

type burstingStream struct{ Stream }

func (b bursting) Open(ctx context.Context, state []byte) (Stream, error) {
	s, err := b.memorySource.Open(ctx, state)
	return burstingStream{s}, err
}

func (b burstingStream) Read(p []byte) (int, error) {
	if at, _ := b.Mark(); string(at) != "0" {
		panic(powerCut{})
	}
	return b.Stream.Read(p[:20])
}

// The decoder of a patch has goroutines; a panic of what it reads comes out of
// the call all the same, and nothing of it stays behind.
func TestPanicWhilePatching(t *testing.T) {
	old := image(2 * mib)
	patch := patchOf(t, "udelta", old, newer(old))
	before := runtime.NumGoroutine()
	for range 20 {
		b := newBench(patch, device.File)
		b.grants.Sources["image"] = bursting{b.source}
		b.door.live["old"] = old
		b.grants.Targets["old"] = Target{Ref: "old", Type: device.File, Mode: Read}
		b.grants.Targets["out"] = Target{Ref: "out", Type: device.File, Mode: Write}
		if !attempt(func() {
			run(t, abi.Install, plain(""), &b.grants, func(s *script) {
				s.ask("svc_patch", 0, s.must("tgt_open", "old", abi.ModeRead), s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
			})
		}) {
			t.Fatal("the panic was lost")
		}
	}
	if after := runtime.NumGoroutine(); after > before+5 {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

// work is a service from an artifact into a target that can be cut anywhere.
type work struct {
	name string
	data []byte // of the artifact
	typ  device.Type
	do   func(s *script)
}

func works(t *testing.T) []work {
	old := image(2 * mib)
	new := newer(old)
	entries := members(map[string]string{"bin/app": string(image(2*mib + 3)), "etc/a": "a", "etc/b": strings.Repeat("b", 300_000), "empty": ""})
	entries = append(entries, tarMember{name: "var/log/", kind: '5'})
	install := func(service func(s *script, art, out int64)) func(s *script) {
		return func(s *script) { service(s, s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite)) }
	}
	return []work{
		{"inflate", packed(t, "gzip", new), device.File, install(func(s *script, art, out int64) { s.want(len(new), "svc_inflate", 0, art, out) })},
		{"patch", patchOf(t, "udelta", old, new), device.File, install(func(s *script, art, out int64) {
			s.want(len(new), "svc_patch", 0, s.must("tgt_open", "old", abi.ModeRead), art, out)
		})},
		{"unpack a tar", tarOf(t, entries), device.Directory, install(func(s *script, art, out int64) { s.want(4, "svc_unpack", art, out) })},
		{"unpack a packed tar", packed(t, "zstd", tarOf(t, entries)), device.Directory, install(func(s *script, art, out int64) { s.want(4, "svc_unpack", art, out) })},
		{"copy members", tarOf(t, entries), device.Directory, install(func(s *script, art, out int64) {
			for _, name := range []string{"bin/app", "etc/b"} {
				m := s.must("art_entry", art, name)
				s.want(int(s.must("art_size", m)), "svc_copy", m, 0, s.must("tgt_entry", out, name, 0o644), 0, -1)
			}
		})},
	}
}

// The power is cut before and after each effect; the result is the same.
func TestServicesSurviveAPowerCutAtEachEffect(t *testing.T) {
	for _, w := range works(t) {
		t.Run(w.name, func(t *testing.T) {
			start := func() *bench {
				b := newBench(w.data, w.typ)
				b.door.live["old"] = image(2 * mib)
				b.grants.Targets["old"] = Target{Ref: "old", Type: device.File, Mode: Read}
				b.grants.Targets["out"] = Target{Ref: "out", Type: w.typ, Mode: Write, Quota: 4 * mib}
				return b
			}
			install := func(b *bench) {
				t.Helper()
				point, err := b.journal.Last(t.Context())
				if err == nil && point.Phase != abi.Commit {
					err = run(t, abi.Install, plain(""), &b.grants, w.do)
				}
				if err != nil {
					t.Fatal(err)
				}
				err = run(t, abi.Commit, plain(""), &b.grants, func(s *script) { s.want(0, "tgt_commit", s.must("tgt_open", "out", abi.ModeWrite)) })
				if err != nil {
					t.Fatal(err)
				}
			}
			whole := start()
			install(whole)
			want, effects := whole.door.stamps["out"].SHA256, whole.door.power.count
			for _, after := range []bool{false, true} {
				for n := range effects {
					b := start()
					*b.door.power = power{left: n, after: after}
					if !attempt(func() { install(b) }) {
						t.Fatalf("effect %d never came", n)
					}
					b.door.restart()
					install(b)
					if got := b.door.stamps["out"].SHA256; got != want {
						t.Fatalf("after a cut at effect %d (after: %v): %s, want %s", n, after, got, want)
					}
				}
			}
			t.Logf("%d effects, %d checkpoints of at most %d bytes", effects, whole.journal.saves, whole.journal.most)
		})
	}
}
