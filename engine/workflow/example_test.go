package workflow_test

import (
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow"
)

// Say prints a text.
type Say struct {
	// Text is what is printed.
	Text string `yaml:"text,required"`
}

// Do prints it.
func (s *Say) Do(context.Context, *engine.Task) error {
	fmt.Println(s.Text)
	return nil
}

func ExampleRead() {
	env := workflow.Env{Verbs: map[string]engine.Verb{
		"say": {New: func() any { return new(Say) }, Class: engine.Idempotent},
	}}
	_, err := workflow.Read("hello.yaml", []byte(`apiVersion: updraft/v1
kind: Workflow
name: hello
inputs: {who: {type: string}}
steps:
  - id: hello
    say: {text: "hello ${{ inputs.whom }}"}
  - id: bye
    sya: {text: bye}
`), env)
	fmt.Println(err)

	g, err := workflow.Read("hello.yaml", []byte(`apiVersion: updraft/v1
kind: Workflow
name: hello
inputs: {who: {type: string}}
steps:
  - id: hello
    say: {text: "hello ${{ inputs.who }}"}
`), env)
	if err != nil {
		fmt.Println(err)
		return
	}
	verb, err := g.Steps[0].Bind(&engine.Scope{Inputs: map[string]any{"who": "world"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = verb.(engine.Doer).Do(context.Background(), nil)
	// Output:
	// hello.yaml:7:35: E023 unknown input "whom", did you mean "who"?
	//       say: {text: "hello ${{ inputs.whom }}"}
	//                                     ^~~~
	// hello.yaml:9:5: E014 unknown verb "sya", did you mean "say"?
	//       sya: {text: bye}
	//       ^~~
	// hello world
}
