// Package agent wires device, journal, verbs, workflows and engine together.
//
// [Open] locks a state directory and opens everything for one device file;
// [Agent.Run] drives a command to its end and delivers its reports. The
// programs of this project and those who embed updraft call the same functions.
// One process at a time holds a state directory.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
	"github.com/updraft-ota/updraft/engine/workflow"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/stages"
	"github.com/updraft-ota/updraft/wasmhost"
)

// ErrNothing says that no run is unfinished.
var ErrNothing = errors.New("no unfinished run")

// ErrForeign says that a state directory belongs to another device file.
var ErrForeign = errors.New("belongs to another device")

// BusyError says that another run is unfinished.
type BusyError struct{ Run string }

func (b *BusyError) Error() string {
	return fmt.Sprintf("run %s is unfinished: resume or cancel it first", b.Run)
}

// Config says which device, and how. Zero fields mean the documented default.
type Config struct {
	// Device is the path of the device file.
	Device string
	// State is the state directory. The default is the folder .updraft beside
	// the device file.
	State string
	// Restart says what a restart does.
	Restart device.Mode
	// HTTP carries all requests. The default is stages.NewTransport(nil).
	HTTP http.RoundTripper
	// Openers fetch artifacts from addresses of further schemes; see [stages.Config].
	// [Serve] has one for the file streams of its planes.
	Openers map[string]stages.Opener
	// Verbs are the maker's own, by the word that a workflow uses. A name that a
	// built-in verb has is an error.
	Verbs map[string]engine.Verb
	// SaveMemory tells the Go runtime, for the whole process, to keep its heap
	// small while a run goes on. It is for programs whose purpose is the update.
	SaveMemory bool
	// Record, if set, writes what modules ask and are answered.
	Record *wasmhost.Recorder
	// ModuleProcess is the command that starts this program again as the process
	// of a module, see [ModuleCommand]. Without it a device file that
	// asks for processes is refused.
	ModuleProcess []string
	// Events, if set, gets each event in order. It must not block.
	Events func(engine.Event)

	fetch http.RoundTripper // carries what fetch asks for, instead of HTTP
}

func (c *Config) state() string {
	if c.State != "" {
		return c.State
	}
	return filepath.Join(filepath.Dir(c.Device), ".updraft")
}

// Agent is an open device. It must not be shared between goroutines.
type Agent struct {
	config  Config
	device  device.Config
	door    *device.Files
	stages  stages.Config
	verbs   map[string]engine.Verb // all of them
	locks   []*disk.Held
	journal *journal.Journal
	modules *wasmhost.Host
	engine  *engine.Engine
}

// Open locks the state directory and opens journal, device and module host.
// A state directory or a device that another process holds is [disk.ErrLocked].
func Open(ctx context.Context, c Config) (a *Agent, err error) {
	a = &Agent{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
			a = nil
		}
	}()
	if a.device, err = LoadDevice(c.Device); err != nil {
		return a, err
	}
	if a.door, err = openDevice(a.device, disk.OS(), disk.Real(), device.KernelBootID, c.Restart); err != nil {
		return a, err
	}
	if err := makeState(c.state()); err != nil {
		return a, err
	}
	// The guard is the device's, whatever the state directory: two runs at once
	// would write the same slot.
	for _, name := range []string{filepath.Join(c.state(), "lock"), a.device.Guard + ".lock"} {
		held, err := disk.Lock(name)
		if err != nil {
			return a, err
		}
		a.locks = append(a.locks, held)
	}
	if err := claim(c.state(), c.Device); err != nil {
		return a, err
	}
	if a.stages, err = stagesConfig(a.device, c.HTTP); err != nil {
		return a, err
	}
	if a.modules, err = openModules(ctx, a.device, &c); err != nil {
		return a, err
	}
	a.stages.Modules, a.stages.Openers, a.stages.Fetch = a.modules, c.Openers, c.fetch
	if a.verbs, err = allVerbs(stages.Builtin(a.stages), c.Verbs); err != nil {
		return a, err
	}
	if err := a.openJournal(nil); err != nil {
		return a, err
	}
	a.engine, err = engine.New(a.engineConfig())
	return a, err
}

// makeState makes the state directory. One that everybody may write to is
// refused: whoever plants a link in it would have files of others written. An
// empty one, such as a fresh mount, is closed to others instead.
func makeState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at state directory: %w", err)
	}
	if mode := info.Mode(); mode.Perm()&0o002 != 0 {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) == 0 && os.Chmod(dir, 0o700) == nil {
			return nil
		}
		return fmt.Errorf("state directory %s is %v: %w: want one that only its owner may write to, such as with chmod 700", dir, mode, fs.ErrPermission)
	}
	return nil
}

// claim binds a state directory to the device file that used it first: the
// run of one device must never go on with the slots of another.
func claim(state, device string) error {
	device, err := filepath.Abs(device)
	if err != nil {
		return fmt.Errorf("find the device file: %w", err)
	}
	name := filepath.Join(state, "device")
	have, err := disk.ReadFile(disk.OS(), name, 8<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return disk.WriteFile(disk.OS(), name, []byte(device+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("look whose state directory it is: %w", err)
	}
	if was := strings.TrimSuffix(string(have), "\n"); was != device {
		return fmt.Errorf("state directory %s %w: it is that of %s, not of %s; give each device one of its own, or remove %s if the file has only moved",
			state, ErrForeign, was, device, name)
	}
	return nil
}

func (a *Agent) journalDir() string { return filepath.Join(a.config.state(), "journal") }

// openJournal opens the journal, or sets a damaged one aside first.
func (a *Agent) openJournal(cause error) (err error) {
	if cause != nil {
		if a.journal != nil {
			_ = a.journal.Close() // it is damaged: what matters is the copy aside
			a.journal = nil
		}
		if _, err := journal.Quarantine(a.journalDir()); err != nil {
			return err
		}
	}
	a.journal, err = journal.Open(a.journalDir(), journal.Options{})
	if cause == nil && errors.Is(err, engine.ErrStore) {
		return a.openJournal(err)
	}
	return err
}

func (a *Agent) engineConfig() engine.Config {
	c := engineConfig(a.device, a.verbs)
	c.Store, c.Door, c.FS, c.Clock = a.journal, a.door, disk.OS(), disk.Real()
	c.Reset = func(cause error) (engine.Store, error) {
		err := a.openJournal(cause)
		return a.journal, err
	}
	c.Dir, c.Guard, c.Events = a.config.state(), a.device.Guard, a.config.Events
	return c
}

// Close closes everything. What runs must have returned before.
func (a *Agent) Close() error {
	var errs []error
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	for _, held := range a.locks {
		errs = append(errs, held.Close())
	}
	return errors.Join(errs...)
}

// Run submits a command, drives its run and delivers its report. With
// simulated restarts it goes on after each; otherwise it returns with
// [engine.Waiting]. Inputs get the types that the workflow declares; what is
// wrong with them is told at once, as [workflow.ErrInput]. A report that cannot be
// delivered stays in the outbox and is an event, not an error.
func (a *Agent) Run(ctx context.Context, c engine.Command) (engine.Result, error) {
	if c.Graph != nil {
		var err error
		if c.Inputs, err = workflow.Inputs(c.Graph, c.Inputs); err != nil {
			return engine.Result{}, err
		}
	}
	receipt, err := a.engine.Submit(ctx, c)
	if err != nil {
		return engine.Result{}, err
	}
	if receipt.Answer == engine.Busy {
		return engine.Result{}, &BusyError{receipt.Run}
	}
	return a.drive(ctx, receipt.Run)
}

// Resume goes on with the unfinished run, or returns [ErrNothing] having
// delivered what reports are left.
func (a *Agent) Resume(ctx context.Context) (engine.Result, error) {
	run, err := a.engine.Open(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if run == "" {
		err := errors.Join(ErrNothing, a.Deliver(ctx))
		a.prune(ctx, "")
		return engine.Result{}, err
	}
	return a.drive(ctx, run)
}

func (a *Agent) drive(ctx context.Context, run string) (engine.Result, error) {
	if a.config.SaveMemory {
		defer saveMemory()()
	}
	for {
		res, err := a.engine.Run(ctx, run)
		if err != nil {
			return res, err
		}
		if res.State == engine.Waiting && a.config.Restart == device.RestartSimulate {
			continue // the next call is what a new process would do
		}
		if res.State != engine.Waiting {
			a.deliver(ctx, run)
			a.prune(ctx, run)
		}
		return res, nil
	}
}

// prune forgets what no one needs any more. What cannot be removed now goes the
// next time.
func (a *Agent) prune(ctx context.Context, run string) {
	err := a.engine.Prune(ctx, func(plane string) bool { return len(a.device.Report.To) == 0 && !a.served(plane) })
	if err != nil && a.config.Events != nil {
		a.config.Events(engine.Event{Run: run, Kind: engine.EventLog, Code: "cleanup", Time: time.Now().UTC(), Text: err.Error()})
	}
}
