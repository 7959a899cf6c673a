package stages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// Compat asks a vendor's module whether the update suits this device, before
// anything is fetched. The module sees the facts and its settings, nothing
// else, so that it answers the same on a server. "Not compatible" refuses the
// run.
type Compat struct {
	// Module is the vendor's compat module, a path beside the workflow, with
	// @sha256: and its digest behind it if nothing else may be there.
	Module string `yaml:"module,file,required"`
	// With are the module's settings.
	With map[string]any `yaml:"with"`

	c *Config
}

// Prepare compiles the module.
func (s *Compat) Prepare(ctx context.Context, files map[string][]byte) error {
	_, err := s.c.modules.prepare(ctx, s.c, s.Module, files, s.judge)
	return err
}

func (s *Compat) judge(m *wasmhost.Module) error { return checkGrants(m, s.Module, compatCapabilities) }

// Do asks the module.
func (s *Compat) Do(ctx context.Context, t *engine.Task) error {
	m, err := s.c.modules.get(ctx, s.c, s.Module, t, s.judge)
	if err != nil {
		return err
	}
	if !s.c.KeepModules { // it is asked once; the memory is for the pipe
		defer s.c.modules.drop(ctx, s.Module)
	}
	settings, err := json.Marshal(s.With)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	facts, err := client(t).Facts(ctx)
	if err != nil {
		return err
	}
	res, err := m.Call(ctx, abi.Compat, wasmhost.Grants{Run: t.Run, Facts: facts, Settings: settings, Clock: t.Clock(),
		Log: func(_ int, line string) { t.Log(line) }})
	if err != nil {
		return &engine.Refused{Code: "incompatible", Err: err}
	}
	switch res.Class {
	case abi.OK, abi.AlreadyDone, abi.OKRestart:
		return nil
	case abi.Incompatible:
		return &engine.Refused{Code: "incompatible", Err: errors.New(or(res.Report.Details, "the module says that the update does not suit this device"))}
	}
	return &engine.Refused{Code: "incompatible", Err: fmt.Errorf("the module gave no verdict (class %d): %s", res.Class, res.Report.Details)}
}

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

// Plan lists nothing: the question changes nothing.
func (s *Compat) Plan(context.Context, *engine.Task) ([]engine.Effect, error) { return nil, nil }
