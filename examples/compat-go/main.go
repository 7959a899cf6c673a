// A compatibility check that lets an update pass on some models alone.
package main

import (
	"slices"
	"strings"

	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

var _ = updraft.Serve(updraft.Phases{Compat: compat})

func main() {}

// compat compares the fact model with the models in the step's settings.
func compat(s *updraft.Step) error {
	var want struct {
		Models []string `json:"models"`
	}
	if err := s.Settings(&want); err != nil {
		return err
	}
	model, ok := s.Fact("model")
	if !ok {
		return updraft.Incompatible("the device has no fact model")
	}
	if !slices.Contains(want.Models, model) {
		return updraft.Incompatible("model " + model + " is not one of " + strings.Join(want.Models, ", "))
	}
	return nil
}
