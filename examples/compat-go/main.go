// A compatibility check that lets an update pass on some models alone.
package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

var _ = updraft.Serve(updraft.Phases{Compat: compat})

func main() {}

// compat compares the fact model with the models in the step's settings.
func compat(s *updraft.Step) error {
	models, err := s.Texts("models")
	if err != nil && !errors.Is(err, abi.ENOENT) {
		return err
	}
	model, ok := s.Fact("model")
	if !ok {
		return updraft.Incompatible("the device has no fact model")
	}
	if !slices.Contains(models, model) {
		return updraft.Incompatible("model " + model + " is not one of " + strings.Join(models, ", "))
	}
	return nil
}
