package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/stages"
)

// ServeConfig says which agent file, and how. Zero fields mean the documented default.
type ServeConfig struct {
	// File is the path of the agent file.
	File string
	// Restart says what a restart of the device does. With device.RestartExit,
	// the default, Serve returns when one is due.
	Restart device.Mode
	// Verbs are the maker's own; see [Config].
	Verbs map[string]engine.Verb
	// HTTP carries artifacts and reports. The default is stages.NewTransport(nil).
	HTTP http.RoundTripper
	// Env looks secrets up that the agent file takes from the environment.
	// Without it there are none.
	Env func(name string) (string, bool)
	// SaveMemory and ModuleProcess are as in [Config].
	SaveMemory    bool
	ModuleProcess []string
	// Events, if set, gets each event of a run in order. It must not block.
	Events func(engine.Event)
	// Log, if set, gets lines for people, without secrets, from several goroutines.
	Log func(text string)
	// Ready, if set, is called once: what was unfinished goes on, and the planes connect.
	Ready func()
	// Alive, if set, is called every few seconds as long as the agent answers.
	Alive func()
	// Clock is that of the planes' pauses and timers; the machine's if nil.
	Clock mqtt.Clock
	// Dial opens the connections of the planes; with net.Dialer if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	aliveEvery   = 2 * time.Second
	restartGrace = 5 * time.Minute // until a restart that was asked for and did not come is asked for again
	waitGrace    = time.Minute     // until a run that waits for something else looks again
)

// Serve goes on with what is unfinished, connects to the planes of the agent
// file, does what they ask for, one update at a time, and reports. It returns
// when ctx ends, with its cause, having stopped at a safe point; or, with the
// state [engine.Waiting], when a restart is due that the caller is to make. Any
// other error is one of the agent file, [document.Problems], or of the disk;
// the next Serve goes on.
func Serve(ctx context.Context, c ServeConfig) (res engine.Result, err error) {
	file, err := LoadFile(c.File, c.Verbs, c.Env)
	if err != nil {
		return res, err
	}
	s := &service{c: c, calls: make(chan func()), ended: make(chan outcome, 1), answered: make(chan answered, 1),
		planes: map[string]*plane{}, kick: make(chan struct{}, 1)}
	if c.HTTP == nil {
		c.HTTP = stages.NewTransport(nil)
	}
	s.fetch.next = c.HTTP
	defer s.fetch.close()
	a, err := Open(ctx, Config{Device: file.Device, State: file.State, Restart: c.Restart, HTTP: c.HTTP, Verbs: c.Verbs,
		ModuleProcess: c.ModuleProcess, Events: s.event, Openers: openers(s, file.Planes), fetch: &s.fetch})
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	s.agent = a
	for _, p := range file.Planes {
		if err := s.addPlane(s.versioned(ctx, p)); err != nil {
			return res, err
		}
	}
	if s.socket, err = openSocket(file.Socket, s.status); err != nil {
		return res, err
	}
	return s.serve(ctx)
}

// service is a running agent. Its loop is one goroutine, which owns all
// fields without a comment that says otherwise.
type service struct {
	c        ServeConfig
	agent    *Agent
	planes   map[string]*plane // by name; not changed after the start
	fetch    courier           // with their tokens; not changed after the start
	socket   *socket           // may be shared
	calls    chan func()       // what others want of the loop
	ended    chan outcome
	answered chan answered
	work     sync.WaitGroup

	run     string // that is to be driven, "" for none
	driving bool
	pause   <-chan time.Time // until run is driven again, nil if it may be at once
	queue   []*order         // commands without an answer, in the order of their arrival
	asking  *order           // the one that the engine is asked about
	waiting atomic.Int64     // how many wait for their turn, for all
	kick    chan struct{}    // wakes the one who tells the device file's receivers
	over    bool             // res and err are what Serve returns
	res     engine.Result
	err     error
}

// plane is a plane of the agent file with its connection.
type plane struct {
	Plane
	link  link
	lines *measure // of its log
}

// outcome is what driving a run came to.
type outcome struct {
	run string
	res engine.Result
	err error
}

// planeState is the file of what a plane's dialect saves. It may hold URLs with
// their query, so nobody else reads it.
func (s *service) planeState(name string) string {
	return filepath.Join(s.agent.config.state(), "planes", name)
}

func (s *service) addPlane(p Plane) error {
	if err := os.MkdirAll(filepath.Join(s.agent.config.state(), "planes"), 0o700); err != nil {
		return fmt.Errorf("plane %s: %w", p.Name, err)
	}
	saved, err := disk.ReadFile(disk.OS(), s.planeState(p.Name), control.MaxSave)
	switch {
	case errors.Is(err, fs.ErrNotExist): // from now on its reports are this agent's to tell
		err = disk.WriteFile(disk.OS(), s.planeState(p.Name), nil, 0o600)
	case errors.Is(err, disk.ErrLimit): // no dialect has written this
		s.log(fmt.Sprintf("plane %s: saved state is given up: %v", p.Name, err))
		err = nil
	}
	if err != nil {
		return fmt.Errorf("plane %s: %w", p.Name, err)
	}
	at := &plane{Plane: p, lines: newMeasure(time.Now)}
	at.link, err = p.newLink(saved, &host{s, at}, func(m *mqtt.Config) {
		if s.c.Clock != nil {
			m.Clock = s.c.Clock
		}
		if s.c.Dial != nil {
			m.Dial = s.c.Dial
		}
	})
	if err != nil {
		return fmt.Errorf("plane %s: %w", p.Name, err)
	}
	s.planes[p.Name] = at
	s.fetch.add(p, at.link)
	return nil
}

// versioned has a plane say the version that the device runs, where the agent
// file leaves that to the device. A device that cannot say it goes on without: what it
// runs now may be what a rollback must replace.
func (s *service) versioned(ctx context.Context, p Plane) Plane {
	if !p.fact {
		return p
	}
	if _, known := s.agent.device.Facts[versionFact]; !known {
		return p
	}
	facts, err := device.Client{Door: s.agent.door}.Facts(ctx)
	asked := maps.Clone(p.words)
	if asked[dialects[p.Dialect].version] = facts[versionFact]; err == nil {
		_, err = dialects[p.Dialect].make(asked, nil)
	}
	if err != nil {
		s.log(fmt.Sprintf("plane %s: the version that the device runs is not known: %v", p.Name, err))
		return p
	}
	p.words = asked
	return p
}

// serve starts everything, and waits for its end.
func (s *service) serve(ctx context.Context) (engine.Result, error) {
	within, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := s.takeUp(within); err != nil {
		s.work.Go(func() { s.socket.serve(within) }) // which closes it
		stop(err)
		s.work.Wait()
		return engine.Result{}, err
	}
	s.work.Go(func() { s.socket.serve(within) })
	for _, p := range s.planes {
		s.work.Go(func() { _ = p.link.Run(within) }) // it ends with ctx alone
	}
	if len(s.agent.device.Report.To) > 0 {
		s.agent.transport() // made here, since several goroutines will want it
		s.work.Go(func() { s.tell(within) })
	}
	if s.c.Ready != nil {
		s.c.Ready()
	}
	s.loop(within)
	stop(nil)
	s.work.Wait()
	if !s.over {
		return engine.Result{}, context.Cause(ctx)
	}
	return s.res, s.err
}

// takeUp finds what is unfinished, and the reports that nobody has taken.
func (s *service) takeUp(ctx context.Context) error {
	run, err := s.agent.engine.Open(ctx)
	if err != nil {
		return err
	}
	s.run = run
	s.post(ctx)
	s.drive(ctx)
	return s.err
}

// do has the loop call f, unless it is over.
func (s *service) do(ctx context.Context, f func()) {
	select {
	case s.calls <- f:
	case <-ctx.Done():
	}
}

func (s *service) loop(ctx context.Context) {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for ctx.Err() == nil && !s.over {
		select {
		case <-ctx.Done():
		case f := <-s.calls:
			f()
		case out := <-s.ended:
			s.driving = false
			s.came(ctx, out)
		case a := <-s.answered:
			s.settle(ctx, a)
		case <-s.pause:
			s.pause = nil
		case <-tick.C:
			if s.c.Alive != nil {
				s.c.Alive()
			}
			s.socket.changed()
		}
		s.drive(ctx)
		s.ask(ctx)
	}
}

// finish has Serve return.
func (s *service) finish(res engine.Result, err error) {
	if !s.over {
		s.over, s.res, s.err = true, res, err
	}
}

// drive has a goroutine drive the run, if there is one and it is time.
func (s *service) drive(ctx context.Context) {
	if s.run == "" || s.driving || s.pause != nil || s.over {
		return
	}
	s.driving = true
	run := s.run
	s.work.Go(func() {
		restore := func() {}
		if s.c.SaveMemory {
			restore = saveMemory()
		}
		res, err := s.agent.engine.Run(ctx, run)
		restore()
		s.ended <- outcome{run, res, err}
	})
}

// came takes what driving a run came to. By then another may be there to be
// driven: the engine takes one as soon as the last has ended.
func (s *service) came(ctx context.Context, out outcome) {
	switch {
	case out.err != nil && ctx.Err() != nil: // stopped at a safe point
	case out.err != nil: // the journal cannot be written: only a new start may go on
		s.finish(engine.Result{}, fmt.Errorf("run %s: %w", out.run, out.err))
	case out.res.State != engine.Waiting:
		if s.run == out.run {
			s.run = ""
		}
		s.post(ctx)
		s.prune(ctx)
	case out.res.Code == "restart" && s.c.Restart == device.RestartSimulate: // the next Run is what a new process would do
	case out.res.Code == "restart" && s.c.Restart == device.RestartExec:
		s.log("the restart was asked for")
		s.pause = time.After(restartGrace)
	case out.res.Code == "restart":
		s.finish(out.res, nil)
	default:
		s.pause = time.After(waitGrace)
	}
}

// prune forgets old runs.
func (s *service) prune(ctx context.Context) {
	unheard := func(plane string) bool { return s.planes[plane] == nil && len(s.agent.device.Report.To) == 0 }
	if err := s.agent.engine.Prune(ctx, unheard); err != nil {
		s.log("clean up: " + err.Error())
	}
}

// event goes to all who look on.
func (s *service) event(e engine.Event) {
	if s.c.Events != nil {
		s.c.Events(e)
	}
	if s.socket != nil { // nothing happens before it is open but what opening the journal says
		s.socket.event(e)
	}
	for _, p := range s.planes {
		p.link.Post(control.In{Kind: control.InEvent, Event: e})
	}
}

func (s *service) log(text string) {
	if s.c.Log != nil {
		s.c.Log(text)
	}
}

// status is what the socket tells. It may be called by any goroutine.
func (s *service) status() Status {
	st := Status{Kind: "status", Time: time.Now().UTC(), Waiting: int(s.waiting.Load()), Planes: map[string]PlaneStatus{}}
	if run, err := engine.ReadStatus(disk.OS(), s.agent.config.state()); err == nil {
		st.Run = &run
	}
	for name, p := range s.planes {
		st.Planes[name] = p.link.status()
	}
	return st
}
