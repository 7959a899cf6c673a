package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/crashtest"
	"github.com/updraft-ota/updraft/internal/disk"
)

// set is a verb that gives a file a new content.
type set struct{ file, text string }

func (s *set) Touches() []string { return []string{s.file} }

func (s *set) Do(ctx context.Context, t *engine.Task) error {
	c := device.Client{Door: t.Door, Run: t.Run}
	w, err := c.OpenWriter(ctx, s.file, 0)
	if err != nil {
		return err
	}
	_, err = w.WriteAt([]byte(s.text), 0)
	if err = errors.Join(err, w.Truncate(int64(len(s.text))), w.Sync(), w.Close()); err != nil {
		return err
	}
	_, err = c.Commit(ctx, s.file, int64(len(s.text)), "", device.Stamp{Version: "2", Run: t.Run})
	return err
}

// The power is cut at every point of an update of one file, and again during
// what comes after; each time the update must come to the same end.
func ExampleSweep() {
	fsys := disk.NewForgetful()
	if err := disk.WriteFile(fsys, "/lamp.conf", []byte("light: dim\n"), 0o644); err != nil {
		log.Fatal(err)
	}
	verb := &set{"lamp", "light: bright\n"}
	graph := &engine.Graph{Name: "lamp", Document: []byte("lamp"), Steps: []*engine.Step{{
		ID: "write", Verb: "set", Static: verb,
		Bind: func(*engine.Scope) (any, error) { return verb, nil },
	}}}
	res, err := crashtest.Sweep(context.Background(), crashtest.Rig{
		Disk:   fsys,
		Device: device.Config{File: "/device.yaml", Targets: map[string]device.Place{"lamp": {File: "/lamp.conf"}}},
		Engine: func(c engine.Config) (*engine.Engine, error) {
			c.Dir, c.Guard = "/state", "/guard.bin"
			c.Reread = func([]byte, map[string][]byte) (*engine.Graph, error) { return graph, nil }
			return engine.New(c)
		},
		Command: engine.Command{CommandRef: engine.CommandRef{Plane: "local", ID: "1"}, Run: "lamp-2", Graph: graph},
	}, crashtest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("without a cut:", res.Reference.State)
	fmt.Println("every run that was cut ended so too:", res.Ends[engine.Succeeded] == res.Runs)
	fmt.Println("violations:", len(res.Violations))
	// Output:
	// without a cut: succeeded
	// every run that was cut ended so too: true
	// violations: 0
}
