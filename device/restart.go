package device

import (
	"context"
	"fmt"
)

const deviceScope = "device"

func (f *Files) directory(name string) *directory {
	if p := f.places[name]; p != nil {
		d, _ := p.place.(*directory)
		return d
	}
	return nil
}

func (f *Files) checkScope(scope string) error {
	if scope != deviceScope && f.directory(scope) == nil {
		return fmt.Errorf(`scope %s: %w: expected "device" or a directory target`, quote(scope), ErrUnknown)
	}
	return nil
}

func (f *Files) restart(ctx context.Context, scope string) error {
	if err := f.checkScope(scope); err != nil {
		return err
	}
	command := f.config.Restart[scope].Exec
	switch {
	case scope == deviceScope && f.env.Restart == RestartExit:
		return nil
	case scope == deviceScope && f.env.Restart == RestartSimulate:
		return f.SimulateBoot(ctx)
	case f.env.Restart == RestartSimulate && len(command) == 0:
		return f.Restarted(scope)
	case len(command) == 0:
		return fmt.Errorf("no command: %w: expected restart: {%s: {exec: [PROGRAM]}}", ErrUnknown, scope)
	}
	if f.env.Exec == nil {
		return fmt.Errorf("run %s: %w: commands are not possible here", command[0], ErrDenied)
	}
	if _, err := f.run(ctx, command); err != nil {
		return err
	}
	if scope == deviceScope {
		return nil // the kernel's boot id shows it
	}
	// Counted afterwards: a restart that was cut short is done again, and one
	// that never happened must not look like one.
	return f.Restarted(scope)
}

// Restarted notes that the program of a directory was started again, by
// whoever did so outside of the door. Of "device" it is [Files.SimulateBoot].
func (f *Files) Restarted(scope string) error {
	if scope == deviceScope {
		return f.SimulateBoot(context.Background())
	}
	if err := f.checkScope(scope); err != nil {
		return err
	}
	p := f.places[scope]
	p.busy.Lock()
	defer p.busy.Unlock()
	return f.directory(scope).update(func(st *directoryState) error {
		st.Restarts++
		return nil
	})
}

// SimulateBoot does to every boot file what a boot loader does at power on: it
// counts the start; a slot on trial is started while tries are left, which it
// uses up, and otherwise the slot that was proven last. A slot that is neither
// proven nor on trial is never started.
func (f *Files) SimulateBoot(ctx context.Context) error {
	for _, b := range f.boots {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := b.update(func(st *bootState) error {
			st.Boots++
			for _, t := range st.Targets {
				t.start()
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("start the device: %w", f.explain(err, ""))
		}
	}
	return nil
}
