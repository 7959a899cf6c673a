package main

import (
	"context"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

// supervisor tells the service manager how the agent is doing. Without one
// (no NOTIFY_SOCKET) it does nothing. Nothing waits for the service manager
// but the end of watch.
type supervisor struct {
	out      *output
	watchdog bool
	states   chan string
	status   string // the last that was told
}

func supervised(out *output) *supervisor {
	s := &supervisor{out: out, states: make(chan string, 32)}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		out.line("watchdog: " + err.Error())
	}
	s.watchdog = every > 0
	return s
}

// watch begins telling, that it stops too as soon as ctx ends. The function
// that it gives ends that, when nobody else uses the supervisor any more.
func (s *supervisor) watch(ctx context.Context) (end func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		stopping := ctx.Done()
		for {
			select {
			case state, more := <-s.states:
				if !more && stopping != nil {
					s.notify(daemon.SdNotifyStopping)
				}
				if !more {
					return
				}
				s.notify(state)
			case <-stopping:
				stopping = nil
				s.notify(daemon.SdNotifyStopping + "\nSTATUS=stops at a safe point")
			}
		}
	}()
	return func() { close(s.states); <-done }
}

func (s *supervisor) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.out.line("tell the service manager: " + err.Error())
	}
}

// tell drops what a service manager that does not listen leaves no room for.
func (s *supervisor) tell(state string) {
	select {
	case s.states <- state:
	default:
	}
}

func (s *supervisor) ready(text string) {
	s.tell(daemon.SdNotifyReady + "\nSTATUS=" + text)
}

// alive is called as long as the agent answers.
func (s *supervisor) alive() {
	if s.watchdog {
		s.tell(daemon.SdNotifyWatchdog)
	}
}

// event makes the status line, which is told when it changes. It is called by
// one goroutine at a time.
func (s *supervisor) event(e engine.Event) {
	status := "run " + e.Run + ": "
	switch e.Kind {
	case engine.EventRun:
		status = agent.Phrase(status+e.State, e.Code, e.Text)
	case engine.EventStep:
		status += "step " + e.Step + " " + e.State
	case engine.EventRestart:
		status += "restart " + e.State
	default:
		return
	}
	if status = agent.Printable(strings.ReplaceAll(status, "\n", "; ")); status != s.status {
		s.status = status
		s.tell("STATUS=" + status)
	}
}
