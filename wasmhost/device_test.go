package wasmhost

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

const deviceFile = `
apiVersion: updraft/v1
kind: Device
facts: {model: gw-200}
targets:
  rootfs: {slots: {a: slot-a.img, b: slot-b.img}, boot: {file: boot.json}}
  app:    {directory: app}
  config: {file: app.conf}
`

// open gives the door to a device on d, with what is there before an update.
func open(t *testing.T, d *disk.Forgetful) *device.Files {
	t.Helper()
	config, err := device.Load("/device/device.yaml", []byte(deviceFile))
	if err != nil {
		t.Fatal(err)
	}
	door, err := device.New(config, device.Env{FS: d, Clock: disk.NewVirtual((&clock{}).Now())})
	if err != nil {
		t.Fatal(err)
	}
	return door
}

func seed(t *testing.T) *disk.Forgetful {
	t.Helper()
	d := disk.NewForgetful()
	if err := disk.MkdirAll(d, "/device", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"slot-a.img", "slot-b.img", "app.conf"} {
		if err := disk.WriteFile(d, "/device/"+name, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// The power is cut before and after each effect on the real door; the
// unsynced bytes are lost.
func TestPowerCutOnTheDoorOfADevice(t *testing.T) {
	for _, tt := range []struct {
		guest, target string
		typ           device.Type
		size          int
	}{
		{"install", "rootfs@b", device.Slots, 2*mib + 5},
		{"install", "config", device.File, mib + 5},
		{"tree", "app@run-1", device.Directory, 130_001},
	} {
		t.Run(tt.target, func(t *testing.T) {
			m := load(t, tt.guest)
			data := image(tt.size)
			begin := seed(t)
			// run installs on d until the n-th cut and gives the number of effects.
			run := func(d *disk.Forgetful, b *bench, n int64, late bool) (count int64, cut bool, err error) {
				b.grants.Targets["out"] = Target{Ref: tt.target, Type: tt.typ, Mode: Write}
				b.grants.Door = device.Crashing(open(t, d), func(at int64, _ device.Op, after bool) {
					count = at
					if at == n && after == late {
						panic(powerCut{})
					}
				})
				cut = attempt(func() { _, err = Install(t.Context(), m, b.grants) })
				return count, cut, err
			}
			whole := begin.Clone()
			effects, _, err := run(whole, newBench(data, tt.typ), 0, false)
			if err != nil {
				t.Fatal(err)
			}
			want := stamp(t, whole, tt.target)
			modes := map[bool][]disk.Cut{false: {disk.Kill, disk.PowerTorn}, true: {disk.Power, disk.PowerKeepNames}}
			for n := int64(1); n <= effects; n++ {
				for late, modes := range modes {
					for _, mode := range modes {
						d, b := begin.Clone(), newBench(data, tt.typ)
						if _, cut, err := run(d, b, n, late); !cut {
							t.Fatalf("effect %d never came: %v", n, err)
						}
						d.Cut(mode)
						if _, _, err := run(d, b, 0, false); err != nil {
							t.Fatalf("%v at effect %d of %d (after: %v): %v", mode, n, effects, late, err)
						}
						if got := stamp(t, d, tt.target); got != want {
							t.Fatalf("%v at effect %d (after: %v): %s, want %s", mode, n, late, got, want)
						}
					}
				}
			}
			if tt.typ != device.Directory {
				r, err := device.Client{Door: open(t, whole), Run: "run-1"}.OpenReader(context.Background(), tt.target, "")
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, want the %d of the artifact; error %v", len(got), len(data), err)
				}
			}
			t.Logf("%d effects, each cut four times", effects)
		})
	}
}

// stamp is the digest that the door wrote at commit.
func stamp(t *testing.T, d *disk.Forgetful, ref string) string {
	t.Helper()
	target, err := device.Client{Door: open(t, d), Run: "run-1"}.Resolve(t.Context(), ref)
	if err != nil || target.Stamp.SHA256 == "" {
		t.Fatalf("target %+v, error %v", target, err)
	}
	return target.Stamp.SHA256
}
