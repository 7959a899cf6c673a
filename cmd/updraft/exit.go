package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/internal/trust"
)

// The exit codes. They are a promise: scripts depend on them.
const (
	exitSucceeded  = 0   // done, or nothing was left to do
	exitInternal   = 1   // any other error, or crash-test found a violation
	exitUsage      = 2   // wrong usage, or a file that is missing or does not check
	exitRefused    = 3   // by compatibility, trust or policy: nothing was changed
	exitRolledBack = 4   // failed, and undone or nothing begun
	exitFailed     = 5   // not undone: a person must act
	exitWaiting    = 6   // resume goes on
	exitBusy       = 7   // another process or another unfinished run
	exitCancelled  = 130 // cancelled, and undone
)

const exitHelp = `Exit codes:
    0  succeeded: the device is at the new state, or already was
    1  any other error, such as a server that does not answer outside of a run
    2  wrong usage, or a file that is missing or does not check
    3  refused by compatibility, trust or policy: nothing was changed
    4  rolled back: failed, and the device is as before
    5  failed: not undone, a person must act; the message says how
    6  waiting for a restart or interrupted: resume goes on
    7  busy: another process or another unfinished run has the state directory
  130  cancelled, and undone`

// exitOf is the exit code of a run that ended or waits.
func exitOf(state engine.EndState) int {
	switch state {
	case engine.Succeeded:
		return exitSucceeded
	case engine.RefusedEnd:
		return exitRefused
	case engine.RolledBack:
		return exitRolledBack
	case engine.Failed:
		return exitFailed
	case engine.Waiting:
		return exitWaiting
	case engine.Cancelled:
		return exitCancelled
	}
	return exitInternal
}

// endError ends the program with a code. What there is to say has been said.
type endError struct{ code int }

func (e *endError) Error() string { return fmt.Sprintf("ended with code %d", e.code) }

// ended gives the error for an exit code, nil for success.
func ended(code int) error {
	if code == exitSucceeded {
		return nil
	}
	return &endError{code}
}

// usageError is a mistake in the command line.
type usageError struct {
	cmd string // path of the command, such as "updraft run"; may be empty
	err error
}

func (u *usageError) Error() string { return u.err.Error() }

// Unwrap gives the cause.
func (u *usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// exitCode finds the exit code for an error.
func exitCode(err error) int {
	var end *endError
	var usage *usageError
	var problems document.Problems
	var busy *agent.BusyError
	switch {
	case err == nil:
		return exitSucceeded
	case errors.As(err, &end):
		return end.code
	case errors.As(err, &usage), errors.As(err, &problems):
		return exitUsage
	case errors.As(err, &busy), errors.Is(err, disk.ErrLocked):
		return exitBusy
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitCancelled // a run says exitWaiting itself, all else leaves nothing behind
	case errors.Is(err, trust.ErrUntrusted):
		return exitRefused
	case disk.IsNoSpace(err):
		return exitRolledBack // nothing begun, or nothing left behind
	}
	for _, bad := range []error{agent.ErrForeign, engine.ErrGoal, engine.ErrGraph, delta.ErrCorrupt, delta.ErrTooLarge, delta.ErrUnsupported, trust.ErrManifest, trust.ErrKey, trust.ErrPassword} {
		if errors.Is(err, bad) {
			return exitUsage
		}
	}
	return exitInternal
}

// inputError marks the error of a file that the user named and that is not
// there; other errors stay internal ones.
func inputError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, disk.ErrLimit) {
		return usagef("%w", err)
	}
	return err
}

// finish says what went wrong and gives the exit code.
func (p *program) finish(err error) int {
	var end *endError
	var usage *usageError
	var problems document.Problems
	switch {
	case err == nil, errors.As(err, &end):
	case errors.As(err, &problems):
		p.say("%v", err)
	case errors.As(err, &usage) && usage.cmd != "":
		p.say("updraft: %v (see `%s --help`)", err, usage.cmd)
	default:
		p.say("updraft: %v", err)
	}
	return exitCode(err)
}
