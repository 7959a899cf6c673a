package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasmhost"
)

// testedCase is one line of module test.
type testedCase struct {
	File     string   `json:"file"`
	Line     string   `json:"case"` // file and line
	Name     string   `json:"name"`
	Passed   bool     `json:"passed"`
	Failures []string `json:"failures,omitempty"`
	Points   int      `json:"points,omitempty"` // at which it was disturbed
	Runs     int      `json:"runs"`
	Fuel     int64    `json:"fuel"` // of the undisturbed run
	Seconds  float64  `json:"seconds"`
}

// testedModules is the result of module test.
type testedModules struct {
	Cases  []testedCase `json:"cases"`
	Passed int          `json:"passed"`
	Failed int          `json:"failed"`
}

// moduleTest is what module test is to do.
type moduleTest struct {
	what   string
	only   *regexp.Regexp
	try    conformance.Options
	engine wasmhost.Engine
	asJSON bool
}

func (p *program) moduleTestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test [FILE|DIR]",
		Short: "Run the test file of a module",
		Long: `Run the cases of a test file, or of all files of a folder whose names end in
test.yaml; without an argument, of this folder. Each case is a device in memory,
what the module gets on it, and how the run must end.

--kill-after-each-call runs each case again for every point between module and
device, ends it there, once as a kill and once as a power cut, and runs it to its
end, which must be the same. --fault makes each of those points fail instead.

The exit code is 0 if all cases pass and 4 if one does not.`,
		Example: "  updraft module test ab-slot/test.yaml --kill-after-each-call --fault enospc --fault eio",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("expected one FILE or DIR, have %d arguments", len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions([]cobra.Completion{"yaml"}, cobra.ShellCompDirectiveFilterFileExt),
	}
	f := c.Flags()
	t := moduleTest{what: "."}
	f.BoolVar(&t.try.Kill, "kill-after-each-call", false, "end the module at each point, then run it again")
	faults := f.StringArray("fault", nil, "make each point fail: `KIND` is "+strings.Join(faultNames(), ", ")+" or all; repeatable")
	must(c.RegisterFlagCompletionFunc("fault", cobra.FixedCompletions(append(faultNames(), "all"), cobra.ShellCompDirectiveNoFileComp)))
	only := f.String("run", "", "run only cases whose name matches this `REGEXP`")
	must(c.RegisterFlagCompletionFunc("run", cobra.NoFileCompletions))
	engine := addEngine(c)
	f.BoolVar(&t.asJSON, "json", false, "print the results as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			t.what = args[0]
		}
		t.engine = engineNamed(engine.value)
		var err error
		if t.only, err = regexp.Compile(*only); err != nil {
			return usagef("--run: %w", err)
		}
		if t.try.Faults, err = faultsNamed(*faults); err != nil {
			return err
		}
		return p.testModules(cmd.Context(), &t)
	}
	return c
}

func faultNames() []string {
	var names []string
	for _, f := range conformance.Faults() {
		names = append(names, string(f))
	}
	return names
}

func faultsNamed(given []string) ([]conformance.Fault, error) {
	var list []conformance.Fault
	for _, name := range given {
		switch {
		case name == "all":
			return conformance.Faults(), nil
		case !slices.Contains(faultNames(), name):
			return nil, usagef("--fault: %s", document.Unknown("fault", name, append(faultNames(), "all")))
		}
		list = append(list, conformance.Fault(name))
	}
	return list, nil
}

func (p *program) testModules(ctx context.Context, t *moduleTest) error {
	names, err := testFiles(t.what)
	if err != nil {
		return err
	}
	var files []*conformance.File
	var problems document.Problems
	for _, name := range names {
		f, err := conformance.ReadFile(name)
		var wrong document.Problems
		switch {
		case errors.As(err, &wrong):
			problems = append(problems, wrong...)
		case err != nil:
			return inputError(err)
		}
		files = append(files, f)
	}
	if err := problems.Err(); err != nil {
		return err
	}
	all := testedModules{Cases: []testedCase{}}
	for _, f := range files {
		if err := p.testModule(ctx, t, f, &all); err != nil {
			return err
		}
	}
	if len(all.Cases) == 0 {
		return usagef("no case of %s has a name that matches --run %s", t.what, t.only)
	}
	if t.asJSON {
		err = p.printJSON(all)
	} else {
		err = p.print("%d passed, %d failed", all.Passed, all.Failed)
	}
	if err == nil && all.Failed > 0 {
		return ended(exitRolledBack)
	}
	return err
}

// testFiles lists the test files that the user means.
func testFiles(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, inputError(err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, inputError(err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), "test.yaml") {
			names = append(names, filepath.Join(name, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, usagef("folder %s has no file whose name ends in test.yaml", name)
	}
	return names, nil
}

// testModule runs the cases of one file.
func (p *program) testModule(ctx context.Context, t *moduleTest, f *conformance.File, all *testedModules) (err error) {
	if err := p.refresh(ctx, f); err != nil {
		return err
	}
	l, err := moduleLoader(ctx, f.Path(), t.engine)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%s: module %s: %w; build it first", f.Name, f.Module, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(ctx)) }()
	// A module without a manifest is for the cases to judge.
	if m, err := l.Manifest(); err == nil {
		if err := f.Fits(m); err != nil {
			return err
		}
	}
	for i := range f.Cases {
		c := &f.Cases[i]
		if !t.only.MatchString(c.Name) {
			continue
		}
		began := time.Now()
		v, err := f.Try(ctx, l.Loader, c, t.try)
		if err != nil {
			return fmt.Errorf("%s: case %q: %w", f.Where(c), c.Name, inputError(err))
		}
		done := testedCase{File: f.Name, Line: f.Where(c), Name: c.Name, Passed: len(v.Failures) == 0, Failures: v.Failures,
			Points: v.Points, Runs: v.Runs, Seconds: time.Since(began).Seconds()}
		if v.Outcome != nil {
			done.Fuel = v.Outcome.Usage.Fuel
		}
		if err := p.toldCase(t, done, all); err != nil {
			return err
		}
	}
	return nil
}

// toldCase counts a case and prints its line.
func (p *program) toldCase(t *moduleTest, c testedCase, all *testedModules) error {
	all.Cases = append(all.Cases, c)
	word := "ok  "
	if c.Passed {
		all.Passed++
	} else {
		all.Failed++
		word = "FAIL"
	}
	if t.asJSON {
		return nil
	}
	tried := fmt.Sprintf("%d fuel", c.Fuel)
	if c.Points > 0 {
		tried += fmt.Sprintf(", %d points, %d runs", c.Points, c.Runs)
	}
	if err := p.print("%s  %s %s (%.2f s, %s)", word, c.Line, c.Name, c.Seconds, tried); err != nil {
		return err
	}
	for _, text := range c.Failures {
		if err := p.print("      %s", text); err != nil {
			return err
		}
	}
	return nil
}
