package engine_test

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// paint is a verb with one field.
type paint struct{ colour string }

func (p *paint) Do(_ context.Context, t *engine.Task) error {
	t.Report("painted " + p.colour)
	return nil
}

// An engine over a disk, a store and a clock in memory. Programs get theirs
// from package agent, and graphs from package engine/workflow.
func Example() {
	ctx, fsys, clock := context.Background(), disk.NewForgetful(), disk.NewVirtual(time.Unix(1_800_000_000, 0))
	door, err := device.New(device.Config{File: "/device.yaml"}, device.Env{FS: fsys, Clock: clock})
	if err != nil {
		log.Fatal(err)
	}
	graph := &engine.Graph{Name: "colours", Document: []byte("red"), Steps: []*engine.Step{{
		ID: "red", Verb: "paint", Static: &paint{},
		Bind: func(*engine.Scope) (any, error) { return &paint{"red"}, nil },
	}}}
	e, err := engine.New(engine.Config{
		Store: engine.NewMemory(), Door: door, FS: fsys, Clock: clock, Dir: "/state", Guard: "/guard.bin",
		Reread: func([]byte, map[string][]byte) (*engine.Graph, error) { return graph, nil },
		Events: func(ev engine.Event) { fmt.Println(ev.Kind, cmp.Or(ev.State, ev.Text)) },
	})
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := e.Submit(ctx, engine.Command{CommandRef: engine.CommandRef{Plane: "local", ID: "1"}, Run: "to-red", Graph: graph})
	if err != nil {
		log.Fatal(err)
	}
	res, err := e.Run(ctx, receipt.Run)
	fmt.Println(res.Run, res.State, err)
	// Output:
	// run accepted
	// run resumed
	// step begin
	// report painted red
	// step done
	// run succeeded
	// to-red succeeded <nil>
}
