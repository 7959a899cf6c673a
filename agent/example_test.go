package agent_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

func write(dir, name, text string) string {
	full := filepath.Join(dir, name)
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}
	return full
}

// A device with one file that may be updated, and an update of it.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "updraft-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	write(dir, "app.conf", "colour: red\n")
	write(dir, "new.conf", "colour: blue\n")
	device := write(dir, "device.yaml", `
apiVersion: updraft/v1
kind: Device
targets: {config: {file: app.conf}}
report: {to: [{file: reports.ndjson}]}
trust: {require: none}
`)
	workflow := write(dir, "update.yaml", `
apiVersion: updraft/v1
kind: Workflow
name: colour
inputs: {from: {type: string}}
steps:
  - {id: new, fetch: {url: "${{ inputs.from }}"}}
  - {id: write, install: {artifacts: {new: new}, targets: {out: {target: config}}}}
`)

	ctx := context.Background()
	a, err := agent.Open(ctx, agent.Config{Device: device})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	graph, err := a.Read(workflow)
	if err != nil {
		log.Fatal(err)
	}
	res, err := a.Run(ctx, engine.Command{
		CommandRef: engine.CommandRef{Plane: "local", ID: "42"},
		Graph:      graph, Inputs: map[string]any{"from": filepath.Join(dir, "new.conf")},
	})
	if err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "app.conf"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.State)
	fmt.Print(string(text))
	// Output:
	// succeeded
	// colour: blue
}
