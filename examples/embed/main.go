// Command embed is a maker's own update program: updraft, and a verb of the maker's own.
package main

import (
	"cmp"
	"context"
	"errors"
	"log"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

// Hold waits: after a Retry, Do is called again, as often as the step's retry word allows.
type Hold struct {
	File string `yaml:"file,required,target"` // is there while the machine is in use
}

func (h *Hold) Do(ctx context.Context, t *engine.Task) error {
	if used, err := t.Device().Exists(ctx, h.File, ""); err != nil || !used {
		return err
	}
	return &engine.Retry{Err: errors.New("the machine is in use")}
}

func main() {
	verbs := map[string]engine.Verb{"hold": {New: func() any { return new(Hold) }, Class: engine.Idempotent}}
	a, err := agent.Open(context.Background(), agent.Config{Device: "device.yaml", Verbs: verbs})
	if err != nil {
		log.Fatal(err)
	}
	graph, err := a.Read("update.yaml")
	if err != nil {
		log.Fatal(errors.Join(err, a.Close()))
	}
	res, err := a.Run(context.Background(), engine.Command{CommandRef: engine.CommandRef{Plane: "local", ID: graph.Name}, Graph: graph})
	if err = cmp.Or(errors.Join(err, a.Close()), res.Err()); err != nil {
		log.Fatal(err)
	}
}
