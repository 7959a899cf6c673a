package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// receivers stands for those of the device file among who is to have a report.
// No plane has this name.
const receivers = "local"

// post hands all reports that are in the outbox to their planes, and wakes the one
// who tells the receivers of the device file. Handing one over again is harmless.
func (s *service) post(ctx context.Context) {
	reports, err := s.agent.engine.Outbox(ctx)
	if err != nil {
		s.log("outbox: " + err.Error())
	}
	for _, rep := range reports {
		p, ok := s.planes[rep.Plane]
		switch {
		case slices.Contains(rep.Heard, rep.Plane):
		case ok:
			p.link.Post(control.In{Kind: control.InReport, Report: rep})
		case rep.Plane != receivers && len(s.agent.device.Report.To) == 0:
			s.log(fmt.Sprintf("report %s is for plane %q, which the agent file does not have: it stays in the outbox", rep.ID, rep.Plane))
		}
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// took notes that a plane, or all receivers of the device file, have a report.
// It leaves the outbox when everybody has it who is to.
func (s *service) took(ctx context.Context, who, id string) {
	reports, err := s.agent.engine.Outbox(ctx)
	if err != nil {
		s.log("outbox: " + err.Error())
	}
	for _, rep := range reports {
		if rep.ID != id {
			continue
		}
		if who != receivers && rep.Plane != who {
			s.log(fmt.Sprintf("plane %s says that it has report %s, which is that of %s: ignored", who, id, rep.Plane))
			return
		}
		have := append(rep.Heard, who)
		_, planed := s.planes[rep.Plane]
		if planed && !slices.Contains(have, rep.Plane) || len(s.agent.device.Report.To) > 0 && !slices.Contains(have, receivers) {
			err = s.agent.engine.Heard(ctx, id, who)
		} else {
			err = s.agent.engine.Reported(ctx, id)
		}
		if err != nil {
			s.finish(engine.Result{}, err) // the journal cannot be written
		}
		return
	}
}

const (
	tellFirst = time.Second
	tellLast  = 5 * time.Minute
)

// tell gives the reports to the receivers of the device file, in order, each until
// it is taken. After a restart one may be told again: its id says so.
func (s *service) tell(ctx context.Context) {
	done := map[string]bool{} // and the loop may not have noted it yet
	for wait := tellFirst; ctx.Err() == nil; {
		reports, err := s.agent.engine.Outbox(ctx)
		maps.DeleteFunc(done, func(id string, _ bool) bool {
			return !slices.ContainsFunc(reports, func(rep engine.Report) bool { return rep.ID == id })
		})
		for _, rep := range reports {
			if err != nil || done[rep.ID] || slices.Contains(rep.Heard, receivers) {
				continue
			}
			if err = s.agent.sendAll(ctx, rep); err == nil {
				done[rep.ID], wait = true, tellFirst
				s.do(ctx, func() { s.took(ctx, receivers, rep.ID) })
			}
		}
		var later <-chan time.Time
		if err != nil && ctx.Err() == nil {
			s.log(fmt.Sprintf("%v; again in %v", err, wait))
			later = time.After(wait)
			wait = min(2*wait, tellLast)
		}
		select {
		case <-ctx.Done():
		case <-later:
		case <-s.kick:
		}
	}
}

// sendAll gives a report to every receiver of the device file.
func (a *Agent) sendAll(ctx context.Context, r engine.Report) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	for _, to := range a.device.Report.To {
		if err := a.send(ctx, to, r.ID, body); err != nil {
			return err
		}
	}
	return nil
}

// Deliver sends the reports in the outbox to the receivers of the device
// file. A report counts as delivered when all of them have taken it; one that
// is sent again has the same id. Reports to the planes of an agent file are left
// to [Serve].
func (a *Agent) Deliver(ctx context.Context) error {
	if len(a.device.Report.To) == 0 {
		return nil // the outbox keeps them for whoever is added
	}
	reports, failed := a.engine.Outbox(ctx)
	for _, rep := range reports {
		if a.served(rep.Plane) {
			continue
		}
		if err := a.sendAll(ctx, rep); err != nil {
			failed = errors.Join(failed, fmt.Errorf("deliver report %s: %w", rep.ID, err))
			continue
		}
		if err := a.engine.Reported(ctx, rep.ID); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// served says whether a plane is one that an agent has listened to: its
// dialect has a file in the state directory.
func (a *Agent) served(plane string) bool {
	if !planeName.MatchString(plane) {
		return false
	}
	_, err := os.Stat(filepath.Join(a.config.state(), "planes", plane))
	return err == nil
}

// deliver tries some times; what is left stays in the outbox.
func (a *Agent) deliver(ctx context.Context, run string) {
	var err error
	for try := range deliverTries {
		if err = a.Deliver(ctx); err == nil || ctx.Err() != nil {
			return
		}
		if disk.Real().Sleep(ctx, time.Duration(1<<try)*200*time.Millisecond) != nil {
			return
		}
	}
	if a.config.Events != nil {
		a.config.Events(engine.Event{Run: run, Kind: engine.EventReport, State: "undelivered", Time: time.Now().UTC(),
			Text: fmt.Sprintf("%v; it stays in the outbox, resume sends it again", err)})
	}
}
