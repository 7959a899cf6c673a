package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/stages"
)

// openers fetch what the clouds of some planes send over their own connections. To
// know the schemes takes no service.
func openers(s *service, planes []Plane) map[string]stages.Opener {
	if !slices.ContainsFunc(planes, Plane.streams) {
		return nil
	}
	return map[string]stages.Opener{awsjobs.StreamScheme: &streams{s}}
}

// streams says whether the plane's cloud has file streams.
func (p Plane) streams() bool { return p.Dialect == "awsjobs" }

// streams fetches the files of streams of AWS IoT over the connection of a plane.
type streams struct{ s *service }

var _ stages.Opener = (*streams)(nil)

// Open asks for a file over the plane whose command the run answers.
func (f *streams) Open(ctx context.Context, run, address string, from int64) (io.ReadCloser, int64, error) {
	stream, file, err := awsjobs.ParseStreamURL(address)
	if err != nil {
		return nil, 0, &engine.Failure{Code: "address", Err: err}
	}
	commands, err := f.s.agent.engine.Commands(ctx, run)
	if err != nil {
		return nil, 0, err
	}
	p, err := streaming(f.s.planes, commands)
	if err != nil {
		return nil, 0, err
	}
	machine, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: p.words["device"], Stream: stream, File: file, From: from})
	if err != nil {
		return nil, 0, &engine.Failure{Code: "address", Err: err}
	}
	link, ok := p.link.(interface {
		Listen(topics ...string) *mqtt.Port
	})
	if !ok {
		return nil, 0, &engine.Failure{Code: "stream", Err: fmt.Errorf("plane %s has no broker", p.Name)}
	}
	r := &streamReader{ctx: ctx, clock: disk.Real(), line: link.Listen(machine.Topics()...), machine: machine}
	if err := r.begin(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: plane %s is %s", context.Cause(ctx), p.Name, standing(p.link.status()))
		}
		return nil, 0, errors.Join(err, r.Close())
	}
	return r, machine.Size(), nil
}

// streaming gives the plane of the first of a run's commands whose cloud has
// streams. A run that none of them asked for, such as one of the desk, has the only one.
func streaming(planes map[string]*plane, commands []engine.CommandRef) (*plane, error) {
	for _, c := range commands {
		if p := planes[c.Plane]; p != nil && p.streams() {
			return p, nil
		}
	}
	var all []*plane
	for _, p := range planes {
		if p.streams() {
			all = append(all, p)
		}
	}
	if len(all) != 1 {
		return nil, &engine.Failure{Code: "stream", Err: fmt.Errorf("%d planes have streams, and none of them asked for this run", len(all))}
	}
	return all[0], nil
}

// standing tells a connection's state to people.
func standing(s PlaneStatus) string {
	switch {
	case s.Ready:
		return "connected"
	case s.Error != "":
		return "not connected: " + s.Error
	}
	return "not connected"
}

// line is what a stream needs of a connection: see [mqtt.Port].
type line interface {
	Next(ctx context.Context) (control.In, error)
	Publish(topic string, payload []byte)
	Close() error
}

// streamReader plays a stream on a line, in the calls of its reader: nothing goes
// on between them. It has the context of Open.
type streamReader struct {
	ctx     context.Context
	clock   disk.Clock
	line    line
	machine *awsjobs.Stream
	up      bool // the line is connected
}

// errAgain means that it is time to look what is missing.
var errAgain = errors.New("time to ask again")

// begin waits until the size of the file is known.
func (r *streamReader) begin() error {
	for r.machine.Size() < 0 {
		if err := r.wait(); err != nil {
			return err
		}
	}
	return nil
}

// Read waits until there are bytes. Errors are as [stages.Opener] has them.
func (r *streamReader) Read(p []byte) (int, error) {
	for {
		n, err := r.machine.Read(p)
		if !errors.Is(err, awsjobs.ErrMore) {
			return n, r.explain(err)
		}
		if err := r.wait(); err != nil {
			return 0, err
		}
	}
}

// Close gives the line up.
func (r *streamReader) Close() error { return r.line.Close() }

// wait asks for what is missing, and takes the next thing that comes.
func (r *streamReader) wait() error {
	var again time.Duration
	if r.up {
		var out control.Out
		if out, again = r.machine.Poll(r.clock.Now()); out.Kind != "" {
			r.line.Publish(out.Topic, out.Payload)
		}
	}
	ctx, stop := r.ctx, context.CancelFunc(func() {})
	if again > 0 {
		ctx, stop = disk.WithTimeout(r.ctx, r.clock, again, errAgain)
	}
	in, err := r.line.Next(ctx)
	stop()
	switch {
	case err == nil:
		return r.take(in)
	case errors.Is(err, errAgain):
		return nil
	case errors.Is(err, mqtt.ErrRefused):
		return &engine.Failure{Code: "stream", Err: err}
	}
	return err
}

// take takes what the line gives. Messages that are not about this reading are
// passed over: another one of the same stream may be under way, and brokers may err.
func (r *streamReader) take(in control.In) error {
	switch in.Kind {
	case control.InConnected:
		r.up = true
		r.machine.Lost()
	case control.InLost:
		r.up = false
	case control.InMessage:
		if in.Retained {
			return nil
		}
		if err := r.machine.Message(in.Topic, in.Payload); errors.Is(err, awsjobs.ErrStream) {
			return r.explain(err)
		}
	}
	return nil
}

// explain says what the cloud's no means. A file that is another one by now is
// read from its beginning.
func (r *streamReader) explain(err error) error {
	var said *awsjobs.StreamError
	switch {
	case !errors.Is(err, awsjobs.ErrStream):
		return err
	case errors.As(err, &said) && said.Code == "ResourceNotFound":
		return &engine.Failure{Code: "not_found", Err: err}
	case said == nil && r.machine.Offset() == 0,
		said != nil && !slices.Contains([]string{"VersionMismatch", "ETagMismatch", "OffsetOutOfBounds"}, said.Code):
		return &engine.Failure{Code: "stream", Err: err}
	}
	return &engine.Retry{Fresh: r.machine.Offset() > 0, Err: &engine.Failure{Code: "stream", Err: err}}
}
