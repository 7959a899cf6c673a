package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
)

// Tool is a command that modules may be granted. There is no shell: each item
// of Exec is one argument, whatever a module puts into it.
type Tool struct {
	// Exec is the program and its arguments. ${name} in an argument stands for
	// a parameter, whose value the module chooses; never in the program.
	Exec []string `yaml:"exec,required"`
	// Timeout ends it, 1m if 0.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	toolTime     = time.Minute
	maxParameter = 4 << 10 // bytes of a value
)

var placeholder = regexp.MustCompile(`\$\{[^}]*\}?`)

var goodParameter = regexp.MustCompile(`^\$\{[a-z][a-z0-9_]{0,31}\}$`)

// execute runs a command of the device file.
func (f *Files) execute(ctx context.Context, op Op) (Answer, error) {
	tool, ok := f.config.Commands[op.Target]
	if !ok {
		return Answer{}, fmt.Errorf("command: %w (have %s)", ErrUnknown, strings.Join(slices.Sorted(maps.Keys(f.config.Commands)), ", "))
	}
	if f.env.Tool == nil {
		return Answer{}, fmt.Errorf("%w: commands are not possible here", ErrDenied)
	}
	argv, err := fill(tool.Exec, op.Params)
	if err != nil {
		return Answer{}, err
	}
	limit, stop := disk.WithTimeout(ctx, f.env.Clock, cmp.Or(tool.Timeout, toolTime), ErrTimeout)
	defer stop()
	status, output, err := f.env.Tool(limit, argv, path.Dir(f.config.File))
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case limit.Err() != nil:
		err = fmt.Errorf("run %s: %w", argv[0], ErrTimeout)
	case err != nil:
		err = fmt.Errorf("run %s: %w", argv[0], err)
	}
	return Answer{N: status, Bytes: output}, err
}

// fill puts values into a template. Each parameter has a value and each value
// a parameter. A value stays within its argument and cannot become an option.
func fill(template []string, values map[string]string) ([]string, error) {
	used := map[string]bool{}
	argv := slices.Clone(template)
	var wrong error
	for i, arg := range template {
		argv[i] = placeholder.ReplaceAllStringFunc(arg, func(p string) string {
			name := strings.Trim(p, "${}")
			value, ok := values[name]
			used[name] = true
			switch {
			case !ok:
				wrong = fmt.Errorf("%w: no value for %s", ErrParameter, quote(name))
			case len(value) > maxParameter || strings.ContainsRune(value, 0):
				wrong = fmt.Errorf("%w: the value of %s has a zero byte or more than %d bytes", ErrParameter, quote(name), maxParameter)
			}
			return value
		})
		if strings.HasPrefix(argv[i], "-") && !strings.HasPrefix(arg, "-") {
			wrong = errors.Join(wrong, fmt.Errorf("%w: argument %d would be an option", ErrParameter, i))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !used[name] {
			wrong = errors.Join(wrong, fmt.Errorf("%w: the command has no parameter %s", ErrParameter, quote(name)))
		}
	}
	return argv, wrong
}
