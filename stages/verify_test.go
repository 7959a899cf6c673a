package stages

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

func TestVerify(t *testing.T) {
	body, other := fill(size, 1), fill(size, 2)
	key, public, err := trust.NewKey(zeros(1))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := trust.Sign(bytes.NewReader(body), key, "", "")
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := trust.NewKey(zeros(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		promised string // SHA-256 that fetch gets
		serve    []byte
		verify   Verify
		keys     []trust.Public
		code     string
	}{
		{"the promised digest", hexOf(body), body, Verify{}, nil, ""},
		{"its own digest", "", body, Verify{SHA256: hexOf(body)}, nil, ""},
		{"both", hexOf(body), body, Verify{SHA256: hexOf(body)}, nil, ""},
		{"the two differ", hexOf(body), body, Verify{SHA256: hexOf(other)}, nil, "digest"},
		{"other bytes", "", other, Verify{SHA256: hexOf(body)}, nil, "digest"},
		{"nothing to verify with", "", body, Verify{}, nil, "usage"},
		{"a digest in capitals", "", body, Verify{SHA256: strings.ToUpper(hexOf(body))}, nil, "usage"},
		{"signed", "", body, Verify{Minisign: &Minisign{}}, []trust.Public{stranger, public}, ""},
		{"signed and a digest", hexOf(body), body, Verify{Minisign: &Minisign{}, SHA256: hexOf(body)}, []trust.Public{public}, ""},
		{"signed, other bytes", "", other, Verify{Minisign: &Minisign{}}, []trust.Public{public}, "signature"},
		{"signed by a stranger", "", body, Verify{Minisign: &Minisign{}}, []trust.Public{stranger}, "signature"},
		{"signed, but no keys", "", body, Verify{Minisign: &Minisign{}}, nil, "untrusted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var signatures atomic.Int64
			f := newFaulty(t, func(f *faulty, _ int, w http.ResponseWriter, q *http.Request) {
				if strings.HasSuffix(q.URL.Path, ".minisig") {
					if signatures.Add(1) == 1 {
						f.file(w, q, signature, "", whole)
					} else {
						f.file(w, q, []byte("changed"), "", whole)
					}
					return
				}
				// Broken off a few times, so that hashes go on from states.
				f.file(w, q, tt.serve, `"1"`, half)
			})
			r := newRig(t)
			r.c.Trust = trust.Policy{Require: trust.None, Keys: tt.keys}
			fetch := func() engine.Filter {
				return &Fetch{c: &r.c, URL: f.url + "/x?" + canary, Size: size, SHA256: tt.promised}
			}
			verify := func() engine.Filter {
				v := tt.verify
				v.c, v.Artifact = &r.c, "f0"
				if v.Minisign != nil {
					v.Minisign = &Minisign{Signature: f.url + "/x.minisig?" + canary}
				}
				return &v
			}
			res, err := r.run(t, fetch, verify)
			if err != nil || res.Code != tt.code {
				t.Fatalf("run = %+v, %v, want code %q", res, err, tt.code)
			}
			if tt.code == "" && !r.out.equal(body) {
				t.Error("the artifact differs")
			}
			if tt.code != "" && res.Step != "f1" {
				t.Errorf("failed in step %s, want f1", res.Step)
			}
			if tt.code == "" && tt.verify.Minisign == nil && f.ranges() != "all 40000- 80000-" {
				t.Errorf("requests %q", f.ranges())
			}
		})
	}
}

func TestPatch(t *testing.T) {
	base := fill(1<<20, 3)
	body := append(bytes.Clone(base[:700_000]), fill(100_000, 4)...)
	patch, other := makePatch(t, "udelta", base, body), makePatch(t, "zstd", base, body)
	for _, tt := range []struct {
		name  string
		patch Patch
		serve []byte
		none  bool // no trust wanted
		code  string
	}{
		{"all is said", Patch{Base: "rootfs@active", Format: "zstd", BaseSize: 1 << 20, BaseSHA256: hexOf(base), Size: 800_000, SHA256: hexOf(body)}, other, false, ""},
		{"another format", Patch{Base: "rootfs@a", SHA256: hexOf(body)}, other, false, "delta"},
		{"as little as possible", Patch{Base: "rootfs@a", SHA256: hexOf(body)}, patch, false, ""},
		{"nothing is trusted", Patch{Base: "rootfs@a"}, patch, true, ""},
		{"no digest", Patch{Base: "rootfs@a"}, patch, false, "untrusted"},
		{"another digest", Patch{Base: "rootfs@a", SHA256: hexOf(base)}, patch, false, "delta"},
		{"another base", Patch{Base: "rootfs@b", SHA256: hexOf(body)}, patch, false, "delta"},
		{"a base of another digest", Patch{Base: "rootfs@a", BaseSHA256: hexOf(body), SHA256: hexOf(body)}, patch, false, "delta"},
		{"a base that is too short", Patch{Base: "rootfs@a", BaseSize: 1<<20 + 1, BaseSHA256: hexOf(base), SHA256: hexOf(body)}, patch, false, "delta"},
		{"another size", Patch{Base: "rootfs@a", Size: 5, SHA256: hexOf(body)}, patch, false, "delta"},
		{"no patch", Patch{Base: "rootfs@a", SHA256: hexOf(body)}, base[:5000], false, "delta"},
		{"an unknown format", Patch{Base: "rootfs@a", Format: "unheard-of", SHA256: hexOf(body)}, patch, false, "usage"},
		{"a directory", Patch{Base: "app@active", SHA256: hexOf(body)}, patch, false, "failed"},
		{"an unknown target", Patch{Base: "data@a", SHA256: hexOf(body)}, patch, false, "failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t, func(f *faulty, n int, w http.ResponseWriter, q *http.Request) {
				most := whole
				if n == 1 {
					most = len(tt.serve) / 2
				}
				f.file(w, q, tt.serve, `"1"`, most)
			})
			r := newRig(t)
			r.put(t, "/dev/a.img", base)
			r.put(t, "/dev/b.img", fill(1<<20, 5))
			if tt.none {
				r.c.Trust = trust.Policy{Require: trust.None}
			}
			res, err := r.run(t, r.fetch(f.url+"/x", tt.serve), func() engine.Filter {
				p := tt.patch
				p.c, p.Artifact = &r.c, "f0"
				return &p
			})
			if err != nil || res.Code != tt.code {
				t.Fatalf("run = %+v, %v, want code %q", res, err, tt.code)
			}
			if tt.code == "" && !r.out.equal(body) {
				t.Errorf("%d bytes came and are not the artifact", len(r.out.bytes))
			}
			if tt.code == "" && f.sent.Load() != int64(len(tt.serve)) {
				t.Errorf("%d bytes were sent, want %d", f.sent.Load(), len(tt.serve))
			}
			if tt.code != "" && res.Step != "f1" {
				t.Errorf("failed in step %s, want f1: %s", res.Step, res.Message)
			}
		})
	}
}
