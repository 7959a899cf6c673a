package main

import (
	"errors"
	"fmt"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/document"
)

// The exit codes, a promise to units and scripts.
const (
	exitDone     = 0 // stopped by a signal, or the command did what it says
	exitInternal = 1 // any other error; status: nobody answers
	exitUsage    = 2 // wrong usage, or a file that is missing or does not check
	exitWaiting  = 6 // a restart is due, and this process does not make it
	exitBusy     = 7 // another process holds the device or the socket
)

const exitHelp = `Exit codes:
  0  stopped by SIGTERM or SIGINT, at a safe point
  1  any other error; the next start goes on
  2  wrong usage, or a file that is missing or does not check
  6  a restart of the device is due; after it, the next start goes on
  7  another process holds the device`

// usageError is a mistake in the command line, or a file that is not there.
type usageError struct{ error }

// Unwrap gives the cause.
func (u *usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// saidError is an error that stands in the log already.
type saidError struct{ error }

// Unwrap gives the cause.
func (s *saidError) Unwrap() error { return s.error }

// errRestart says that a restart is due that somebody else makes.
var errRestart = errors.New("restart due")

// exitCode finds the exit code for an error.
func exitCode(err error) int {
	var usage *usageError
	var problems document.Problems
	switch {
	case err == nil, errors.Is(err, errHelped), errors.Is(err, errInterrupted):
		return exitDone
	case errors.Is(err, errRestart):
		return exitWaiting
	case errors.As(err, &usage), errors.As(err, &problems), errors.Is(err, agent.ErrForeign):
		return exitUsage
	case errors.Is(err, agent.ErrHeld):
		return exitBusy
	}
	return exitInternal
}

// finish says what went wrong and gives the exit code.
func (p *program) finish(err error) int {
	var usage *usageError
	var problems document.Problems
	var said *saidError
	switch {
	case err == nil, errors.Is(err, errHelped), errors.As(err, &said):
	case errors.As(err, &problems):
		fmt.Fprintln(p.stderr, err)
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr, "updraft-agent: %v (see updraft-agent --help)\n", err)
	default:
		fmt.Fprintf(p.stderr, "updraft-agent: %v\n", err)
	}
	return exitCode(err)
}
