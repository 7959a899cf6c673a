package agent

import (
	"errors"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/stages"
)

// Check checks documents by their kind, workflows against the device file if
// one is among them, and gives the problems of all files at once as
// [document.Problems].
func Check(files []string) error {
	var problems document.Problems
	var dev *device.Config
	var workflows []string
	for _, name := range files {
		kind, err := kindOf(name)
		if err == nil && kind == "Device" {
			var c device.Config
			if c, err = LoadDevice(name); err == nil {
				dev = &c
			}
		} else if err == nil {
			workflows = append(workflows, name)
		}
		if problems, err = collect(problems, err); err != nil {
			return err
		}
	}
	v := stages.Config{}
	for _, name := range workflows {
		_, err := checkWorkflow(name, dev, v)
		if problems, err = collect(problems, err); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

func collect(all document.Problems, err error) (document.Problems, error) {
	var some document.Problems
	if errors.As(err, &some) {
		return append(all, some...), nil
	}
	return all, err
}

func kindOf(name string) (string, error) {
	data, err := disk.ReadFile(disk.OS(), name, maxDocument)
	if err != nil {
		return "", err
	}
	doc, err := document.Load(name, data)
	if err != nil {
		return "", err
	}
	n := doc.Root.Get("kind")
	if n == nil {
		return "", document.Problems{doc.Problem("", document.Missing, "missing kind: Device or kind: Workflow")}
	}
	if n.Text != "Device" && n.Text != "Workflow" {
		return "", document.Problems{n.Problem(document.WrongKind, document.Unknown("kind", n.Text, []string{"Device", "Workflow"}))}
	}
	return n.Text, nil
}

func checkWorkflow(name string, dev *device.Config, v stages.Config) (*engine.Graph, error) {
	if dev == nil {
		return readAlone(name, stages.Builtin(v))
	}
	return read(name, *dev, stages.Builtin(v))
}
