package wasmhost

import (
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// An archive is unpacked through the real door; the power is cut before and
// after each effect, and the version has the same digest. Folders without
// files come out too.
func TestUnpackOnTheDoorOfADevice(t *testing.T) {
	data := packed(t, "gzip", tarOf(t, []tarMember{
		{name: "./", kind: '5'}, {name: "./bin/app", text: string(image(mib + 1)), mode: 0o755}, {name: "./etc/", kind: '5'},
		{name: "./etc/a.conf", text: "a", mode: 0o600}, {name: "./etc/empty", text: ""}, {name: "./var/log/", kind: '5'},
	}))
	begin := seed(t)
	try := func(d *disk.Forgetful, b *bench, n int64, late bool) (count int64, cut bool) {
		b.grants.Targets["out"] = Target{Ref: "app@run-1", Type: device.Directory, Mode: Write, Quota: 2 * mib}
		b.grants.Door = device.Crashing(open(t, d), func(at int64, _ device.Op, after bool) {
			if count = at; at == n && after == late {
				panic(powerCut{})
			}
		})
		return count, attempt(func() {
			point, err := b.journal.Last(t.Context())
			if err == nil && point.Phase != abi.Commit {
				err = run(t, abi.Install, plain(""), &b.grants, func(s *script) {
					s.want(3, "svc_unpack", s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
				})
			}
			if err == nil {
				err = run(t, abi.Commit, plain(""), &b.grants, func(s *script) { s.want(0, "tgt_commit", s.must("tgt_open", "out", abi.ModeWrite)) })
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	whole := begin.Clone()
	effects, _ := try(whole, newBench(data, device.Directory), 0, false)
	want := stamp(t, whole, "app@run-1")
	for name, mode := range map[string]string{"bin/app": "-rwxr-xr-x", "etc/a.conf": "-rw-------", "etc/empty": "-rw-r--r--", "var/log": "drwxr-xr-x"} {
		if info, err := whole.Lstat("/device/app/2.0.0/" + name); err != nil || info.Mode().String() != mode {
			t.Errorf("%s: %v, %v, want %s", name, info, err, mode)
		}
	}
	for n := int64(1); n <= effects; n++ {
		for late, modes := range map[bool][]disk.Cut{false: {disk.Kill, disk.PowerTorn}, true: {disk.Power, disk.PowerKeepNames}} {
			for _, mode := range modes {
				d, b := begin.Clone(), newBench(data, device.Directory)
				if _, cut := try(d, b, n, late); !cut {
					t.Fatalf("effect %d never came", n)
				}
				d.Cut(mode)
				if _, cut := try(d, b, 0, false); cut {
					t.Fatal("cut again")
				}
				if got := stamp(t, d, "app@run-1"); got != want {
					t.Fatalf("%v at effect %d of %d (after: %v): %s, want %s", mode, n, effects, late, got, want)
				}
				if info, err := d.Lstat("/device/app/2.0.0/var/log"); err != nil || !info.IsDir() {
					t.Fatalf("%v at effect %d (after: %v): var/log: %v", mode, n, late, err)
				}
			}
		}
	}
	t.Logf("%d effects, each cut four times", effects)
}
