package stages_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/updraft-ota/updraft/engine/workflow"
	"github.com/updraft-ota/updraft/stages"
)

// The verbs that a workflow can name, and a workflow that is checked with them.
func ExampleBuiltin() {
	verbs := stages.Builtin(stages.Config{})
	fmt.Println(slices.Sorted(maps.Keys(verbs)))

	_, err := workflow.Read("update.yaml", []byte(`apiVersion: updraft/v1
kind: Workflow
name: gateway
inputs: {release: {type: string}}
steps:
  - id: image
    fetch: {manifest: "${{ inputs.release }}", artefact: image}
  - id: write
    install: {artifacts: {image: image}, targets: {out: {target: rootfs@inactive}}}
`), workflow.Env{Verbs: verbs})
	fmt.Println(err)
	// Output:
	// [compat confirm fetch inflate install patch report verify]
	// update.yaml:7:48: E009 unknown key "artefact", did you mean "artifact"?
	//       fetch: {manifest: "${{ inputs.release }}", artefact: image}
	//                                                  ^~~~~~~~
}
