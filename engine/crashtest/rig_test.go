package crashtest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/crashtest"
	"github.com/updraft-ota/updraft/internal/disk"
)

// bytesOf is a filter that gives n pseudo-random bytes.
type bytesOf struct {
	seed  uint64
	n     int
	wrong bool // the digest that it promises
}

func (b *bytesOf) data() []byte {
	out := make([]byte, b.n)
	r := rand.NewChaCha8([32]byte{byte(b.seed)})
	_, _ = r.Read(out)
	return out
}

func (b *bytesOf) Filter(_ context.Context, t *engine.Task, _ []engine.Source) (engine.Source, error) {
	data := b.data()
	sum := sha256.Sum256(data)
	if b.wrong {
		sum[0]++
	}
	t.SetRelease(map[string]any{"version": "2", "securityVersion": int64(7)})
	return memory{data, hex.EncodeToString(sum[:])}, nil
}

type memory struct {
	data   []byte
	digest string
}

func (m memory) Size() int64    { return int64(len(m.data)) }
func (m memory) Digest() string { return m.digest }
func (m memory) Open(_ context.Context, at engine.State) (engine.Stream, error) {
	r := bytes.NewReader(m.data)
	_, err := r.Seek(at.Offset, io.SeekStart)
	return &memoryStream{r, at.Offset}, err
}

type memoryStream struct {
	*bytes.Reader
	off int64
}

func (m *memoryStream) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.off += int64(n)
	return n, err
}
func (m *memoryStream) Mark() (engine.State, error) { return engine.State{Offset: m.off}, nil }
func (m *memoryStream) Close() error                { return nil }

// write installs what a step gives on a target, as the native install verb does.
type write struct {
	from, target string
}

func (w *write) Reads() []string   { return []string{w.from} }
func (w *write) Touches() []string { return []string{w.target} }
func (w *write) Probe(ctx context.Context, t *engine.Task) (engine.Found, error) {
	was := t.Targets[w.target] // its stamp may be an earlier step's of this run
	now, err := device.Client{Door: t.Door, Run: t.Run}.Resolve(ctx, was.Ref)
	if err == nil && now.Stamp.Run == t.Run && now.Stamp != was.Stamp {
		return engine.Done, nil
	}
	return engine.Partial, err
}
func (w *write) Do(ctx context.Context, t *engine.Task) error {
	c := device.Client{Door: t.Door, Run: t.Run}
	target := t.Targets[w.target]
	if target.Type == device.Slots {
		if err := c.Invalidate(ctx, target.Ref); err != nil {
			return err
		}
	}
	out, err := c.OpenWriter(ctx, target.Ref, 0)
	if err != nil {
		return err
	}
	sink := out
	if target.Type == device.Directory {
		if sink, err = out.OpenEntry("bin/app", 0o755); err != nil {
			return err
		}
	}
	wrote, err := t.Copy(ctx, t.In[0], sink)
	if err != nil {
		return errors.Join(err, sink.Close())
	}
	if target.Type != device.Slots {
		err = sink.Truncate(wrote.Size)
	}
	if err := errors.Join(err, sink.Close()); err != nil {
		return err
	}
	digest := wrote.SHA256
	if target.Type == device.Directory {
		digest = ""
	}
	_, err = c.Commit(ctx, target.Ref, wrote.Size, digest, device.Stamp{Version: "2", Size: wrote.Size, Run: t.Run, Source: wrote.SHA256})
	return err
}

// prove restarts and confirms, or finds fault with the new version.
type prove struct {
	scope string
	bad   bool
}

func (p *prove) Confirms() {}
func (p *prove) Do(ctx context.Context, t *engine.Task) error {
	if err := t.Restart(ctx, p.scope, 3); err != nil {
		return err
	}
	if p.bad {
		return &engine.Failure{Code: "probe", Err: errors.New("the new version does not answer")}
	}
	return t.Confirm(ctx)
}

// broken always fails.
type broken struct{}

func (broken) Do(context.Context, *engine.Task) error { return errors.New("broken") }

func steps(list ...*engine.Step) *engine.Graph {
	g := &engine.Graph{Name: "test", Document: []byte(fmt.Sprint(len(list)))}
	for i, s := range list {
		static := s.Static
		s.Verb = fmt.Sprintf("%T", static)
		s.Bind = func(*engine.Scope) (any, error) { return static, nil }
		if s.Needs == nil && i > 0 {
			s.Needs = []string{list[i-1].ID}
		}
		g.Steps = append(g.Steps, s)
	}
	return g
}

const slotSize = 64 << 10

func config() device.Config {
	return device.Config{
		File:  "/d/device.yaml",
		Trust: device.Trust{Require: device.RequireNone},
		Guard: "/state/guard.bin",
		Targets: map[string]device.Place{
			"rootfs": {Slots: map[string]string{"a": "/d/a.img", "b": "/d/b.img"}, Boot: device.BootState{File: "/d/boot.json"}},
			"radio":  {Slots: map[string]string{"a": "/d/ra.img", "b": "/d/rb.img"}, Boot: device.BootState{File: "/d/boot.json"}},
			"app":    {Directory: "/d/app"},
			"config": {File: "/d/etc/app.yaml"},
		},
	}
}

// seed makes the device before the update.
func seed(t testing.TB) *disk.Forgetful {
	t.Helper()
	f := disk.NewForgetful()
	for _, dir := range []string{"/d/app/1/bin", "/d/etc", "/state"} {
		if err := disk.MkdirAll(f, dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string][]byte{
		"/d/a.img": (&bytesOf{seed: 1, n: slotSize}).data(), "/d/b.img": nil, "/d/ra.img": (&bytesOf{seed: 2, n: slotSize}).data(), "/d/rb.img": nil,
		"/d/app/1/bin/app": []byte("old app"), "/d/etc/app.yaml": []byte("old config"),
	} {
		if err := disk.WriteFile(f, name, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Symlink("1", "/d/app/current"); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncDir("/d/app"); err != nil {
		t.Fatal(err)
	}
	return f
}

func rig(t testing.TB, g *engine.Graph) crashtest.Rig {
	t.Helper()
	return crashtest.Rig{
		Disk:   seed(t),
		Device: config(),
		Engine: func(c engine.Config) (*engine.Engine, error) {
			c.Dir, c.Guard = "/state/run", "/state/guard.bin"
			c.Reread = func([]byte, map[string][]byte) (*engine.Graph, error) { return g, nil }
			return engine.New(c)
		},
		Command: engine.Command{CommandRef: engine.CommandRef{Plane: "cli", ID: "x"}, Run: "x", Graph: g},
	}
}
