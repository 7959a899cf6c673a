package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/stages"
)

func addInputs(c *cobra.Command) *[]string {
	inputs := c.Flags().StringArray("input", nil, "`NAME=VALUE` of an input that the workflow declares, repeatable")
	must(c.RegisterFlagCompletionFunc("input", cobra.NoFileCompletions))
	return inputs
}

// typed gives the inputs the types that the workflow declares. All that is
// unknown, missing or of another type is told at once.
func typed(graph *engine.Graph, given []string) (map[string]any, error) {
	texts := map[string]any{}
	for _, g := range given {
		name, text, ok := strings.Cut(g, "=")
		if !ok {
			return nil, usagef("--input %s: expected NAME=VALUE", g)
		}
		if _, twice := texts[name]; twice {
			return nil, usagef("--input %s: it was given twice", name)
		}
		texts[name] = text
	}
	values, err := workflow.Inputs(graph, texts)
	if err != nil {
		return nil, usagef("--input: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return values, nil
}

// inputsOf is typed for commands that open no device: both files are checked
// first, so that all mistakes in them are told at once.
func inputsOf(deviceFile, workflowFile string, given []string) (map[string]any, error) {
	if err := agent.Check([]string{deviceFile, workflowFile}); err != nil {
		return nil, checkError(err)
	}
	text, err := readSmall(disk.OS(), workflowFile, document.MaxBytes)
	if err != nil {
		return nil, err
	}
	graph, err := workflow.Read(workflowFile, text, workflow.Env{
		Verbs: agent.EngineConfig(device.Config{}, stages.Config{}).Verbs,
		File: func(name string) ([]byte, error) {
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(workflowFile), name)
			}
			return disk.ReadFile(disk.OS(), name, maxModule)
		},
	})
	if err != nil {
		return nil, err
	}
	return typed(graph, given)
}

// maxModule bounds a module that a workflow names, in bytes.
const maxModule = 16 << 20
