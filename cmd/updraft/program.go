package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/updraft-ota/updraft/internal/document"
)

// program is one call of updraft: its surroundings, and how far it came.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	// entered says that a command began: errors before that are mistakes in
	// the command line.
	entered bool
}

// say writes a line to standard error.
func (p *program) say(format string, args ...any) {
	fmt.Fprintf(p.stderr, format+"\n", args...)
}

// print writes a line of the result.
func (p *program) print(format string, args ...any) error {
	_, err := fmt.Fprintf(p.stdout, format+"\n", args...)
	return err
}

// printJSON writes v as one indented value of the result.
func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// terminal gives standard input if a person sits there.
func (p *program) terminal() (*os.File, bool) {
	f, ok := p.stdin.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

const (
	groupUpdate = "update"
	groupMake   = "make"
)

// root is the tree of commands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "updraft",
		Short: "Over-the-air updates that end proven or undone",
		Long: `updraft runs over-the-air updates on a device: a workflow file says what an
update does, a device file says what may be changed, and every run ends in one
of two states, the new version proven or the old one untouched, also through
power cuts.

` + exitHelp,
		Example:       "  updraft run update.yaml --device device.yaml --input release=release.json",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(&cobra.Group{ID: groupUpdate, Title: "Update a device:"}, &cobra.Group{ID: groupMake, Title: "Make updates:"})
	for group, commands := range map[string][]*cobra.Command{
		groupUpdate: {p.runCommand(), p.resumeCommand(), p.cancelCommand(), p.statusCommand(), p.logCommand(),
			p.planCommand(), p.checkCommand(), p.crashTestCommand()},
		groupMake: {p.diffCommand(), p.patchCommand(), p.inspectCommand(), p.moduleCommand(), p.releaseCommand(), p.keysCommand(), p.signCommand(), p.verifyCommand()},
		"":        {p.demoCommand(), p.simCommand(), p.aduCommand(), p.versionCommand()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.InitDefaultCompletionCmd(root.Name())
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Example = "  source <(updraft completion bash)"
			for _, shell := range c.Commands() {
				shell.Example = "  updraft completion " + shell.Name() + " > updraft-completion"
			}
		}
	}
	root.SetHelpCommand(p.helpCommand())
	p.adopt(root)
	return root
}

// helpCommand is cobra's, but for its exit code when there is no such command.
func (p *program) helpCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Help about any command",
		Example: "  updraft help release new",
		Args:    cobra.ArbitraryArgs,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (words []cobra.Completion, _ cobra.ShellCompDirective) {
			if of, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				words = known(of)
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		p.entered = true
		of, rest, err := cmd.Root().Find(args)
		if err != nil {
			return &usageError{cmd: cmd.CommandPath(), err: err}
		}
		if len(rest) > 0 {
			return &usageError{cmd: of.CommandPath(), err: errors.New(document.Unknown("command", rest[0], known(of)))}
		}
		of.InitDefaultHelpFlag()
		return of.Help()
	}
	return c
}

// known are the commands below c.
func known(c *cobra.Command) []string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// adopt gives c and all below it what every command has: an error with the
// nearest word for an unknown command, and a note that it was entered.
func (p *program) adopt(c *cobra.Command) {
	for _, sub := range c.Commands() {
		p.adopt(sub)
	}
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = group
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		p.entered = true
		err := run(cmd, args)
		var usage *usageError
		if errors.As(err, &usage) && usage.cmd == "" {
			usage.cmd = cmd.CommandPath()
		}
		return err
	}
}

// group is what a command does that only has others below it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return usagef("%s", document.Unknown("command", args[0], known(cmd)))
}

// flagError says what is wrong with a flag and which one may be meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		return errors.New(document.Unknown("flag", "--"+unknown.GetSpecifiedName(), flagNames(cmd)))
	case errors.As(err, &value):
		return fmt.Errorf("--%s: %w", value.GetFlag().Name, value.Unwrap())
	}
	return err
}

func flagNames(cmd *cobra.Command) []string {
	names := map[string]bool{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names["--"+f.Name] = !f.Hidden })
	return slices.Sorted(maps.Keys(names))
}

// arguments demands exactly the named arguments.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		if len(names) == 0 {
			return fmt.Errorf("takes no arguments, have %q", args)
		}
		return fmt.Errorf("expected %s, have %d arguments", strings.Join(names, " "), len(args))
	}
}

// choice is a flag with few possible words.
type choice struct {
	value string
	words []string
}

var _ pflag.Value = (*choice)(nil)

func (c *choice) String() string { return c.value }

// Type stands in the help for the words.
func (c *choice) Type() string { return strings.Join(c.words, "|") }

// Set takes a word that is known.
func (c *choice) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return errors.New(document.Unknown("value", word, c.words))
	}
	c.value = word
	return nil
}

// addChoice adds a flag with few words to c, and their completion. The first word is
// the default.
func addChoice(c *cobra.Command, name, usage string, words ...string) *choice {
	v := &choice{value: words[0], words: words}
	c.Flags().Var(v, name, usage)
	must(c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
	return v
}

// must is for what only fails when a command is put together wrongly.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
