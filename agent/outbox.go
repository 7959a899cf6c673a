package agent

import (
	"context"
	"encoding/json"
	"fmt"
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
		if p, ok := s.planes[rep.Plane]; ok {
			p.link.Post(control.In{Kind: control.InReport, Report: rep})
		} else if rep.Plane != receivers && len(s.agent.device.Report.To) == 0 {
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
		if s.told[id] == nil {
			s.told[id] = map[string]bool{}
		}
		s.told[id][who] = true
		_, planed := s.planes[rep.Plane]
		if planed && !s.told[id][rep.Plane] || len(s.agent.device.Report.To) > 0 && !s.told[id][receivers] {
			return
		}
		delete(s.told, id)
		if err := s.agent.engine.Reported(ctx, id); err != nil {
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
	done := map[string]bool{}
	for wait := tellFirst; ctx.Err() == nil; {
		reports, err := s.agent.engine.Outbox(ctx)
		for _, rep := range reports {
			if err != nil || done[rep.ID] {
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
// is sent again has the same id.
func (a *Agent) Deliver(ctx context.Context) error {
	if len(a.device.Report.To) == 0 {
		return nil // the outbox keeps them for whoever is added
	}
	return a.engine.Deliver(ctx, a.sendAll)
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
