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
	"net/http"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/stages"
	"github.com/updraft-ota/updraft/wasmhost"
)

// ErrNothing says that no run is unfinished.
var ErrNothing = errors.New("no unfinished run")

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
	// SaveMemory tells the Go runtime, for the whole process, to keep its heap
	// small while a run goes on. It is for programs whose purpose is the update.
	SaveMemory bool
	// Events, if set, gets each event in order. It must not block.
	Events func(engine.Event)
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
	verbs   stages.Config
	lock    *disk.Held
	journal *journal.Journal
	modules *wasmhost.Host
	engine  *engine.Engine
}

// Open locks the state directory and opens journal, device and module host.
// A state directory that another process holds is [disk.ErrLocked].
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
	if err := os.MkdirAll(c.state(), 0o700); err != nil {
		return a, fmt.Errorf("make state directory: %w", err)
	}
	if a.lock, err = disk.Lock(filepath.Join(c.state(), "lock")); err != nil {
		return a, err
	}
	if a.verbs, err = verbs(a.device, c.HTTP); err != nil {
		return a, err
	}
	if a.modules, err = openModules(ctx, c.state()); err != nil {
		return a, err
	}
	a.verbs.Modules = a.modules
	if err := a.openJournal(nil); err != nil {
		return a, err
	}
	a.engine, err = engine.New(a.engineConfig())
	return a, err
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
	c := EngineConfig(a.device, a.verbs)
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
	if a.lock != nil {
		errs = append(errs, a.lock.Close())
	}
	return errors.Join(errs...)
}

// Run submits a command, drives its run and delivers its report. With
// simulated restarts it goes on after each; otherwise it returns with
// [engine.Waiting]. A report that cannot be delivered stays in the outbox and is an
// event, not an error.
func (a *Agent) Run(ctx context.Context, c engine.Command) (engine.Result, error) {
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
		return engine.Result{}, errors.Join(ErrNothing, a.Deliver(ctx))
	}
	return a.drive(ctx, run)
}

func (a *Agent) drive(ctx context.Context, run string) (engine.Result, error) {
	if a.config.SaveMemory {
		saveMemory()
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
		}
		return res, nil
	}
}
