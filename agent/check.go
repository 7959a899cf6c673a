package agent

import (
	"errors"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/stages"
)

// kinds are the documents that [Check] knows.
var kinds = []string{agentKind, "Device", "Workflow"}

// Check checks documents by their kind, and gives the problems of all files at
// once as [document.Problems]. Workflows are checked against the device file if one is
// among them, and with what the planes of an agent file fetch if one is; an agent
// file is checked with the device and workflows that it names.
func Check(files []string) error {
	var problems document.Problems
	var dev *device.Config
	var planes []Plane
	var workflows []string
	for _, name := range files {
		kind, err := kindOf(name)
		switch {
		case err != nil:
		case kind == agentKind:
			var f File
			f, err = LoadFile(name, nil, nil)
			planes = append(planes, f.Planes...)
		case kind == "Device":
			var c device.Config
			if c, err = LoadDevice(name); err == nil {
				dev = &c
			}
		default:
			workflows = append(workflows, name)
		}
		if problems, err = collect(problems, err); err != nil {
			return err
		}
	}
	v := stages.Config{Openers: openers(nil, planes), CheckSchemes: true}
	for _, name := range workflows {
		_, err := checkWorkflow(name, dev, v)
		if problems, err = collect(problems, err); err != nil {
			return err
		}
	}
	return problems.Err() // sorted, and once each: an agent file may name the others
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
		return "", concealed(data, err)
	}
	n := doc.Root.Get("kind")
	if n == nil {
		return "", concealed(data, document.Problems{doc.Problem("", document.Missing, "missing kind: "+strings.Join(kinds, ", or kind: "))})
	}
	if !slices.Contains(kinds, n.Text) {
		return "", concealed(data, document.Problems{n.Problem(document.WrongKind, document.Unknown("kind", n.Text, kinds))})
	}
	return n.Text, nil
}

func checkWorkflow(name string, dev *device.Config, v stages.Config) (*engine.Graph, error) {
	if dev == nil {
		return readAlone(name, stages.Builtin(v))
	}
	v.Module, v.CheckGrants = dev.Modules, true
	return read(name, *dev, stages.Builtin(v))
}
