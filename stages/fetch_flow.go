package stages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// flow is one decoding of a delta that is applied while it comes: nothing of
// the patch is on the disk. It goes on at the start of the section of the patch in which
// it stood, and fetches from there. It has the context of Open.
type flow struct {
	p     *patched
	ctx   context.Context
	base  *device.Reader
	patch *sections
	again *sections // the map of the region that it stands in, after a restart
	new   io.ReadCloser
	marks delta.Marker
	sum   *trust.Digest
	ended error
}

// flowState is what a flow needs beside the state of the patch's stream.
type flowState struct {
	Patch int64         `json:"patch"`
	Map   delta.Range   `json:"map,omitzero"` // what of the patch is read again first
	MapUp *engine.State `json:"mapUp,omitempty"`
	State []byte        `json:"state"`
	Sum   []byte        `json:"sum"` // of what was made so far
}

// openFlow starts a flow, or goes on with one.
func (p *patched) openFlow(ctx context.Context, at engine.State) (engine.Stream, error) {
	s := &flow{p: p, ctx: ctx, sum: trust.NewDigest()}
	if err := s.start(at); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *flow) start(at engine.State) error {
	var was flowState
	var up engine.State
	if at.Offset > 0 {
		if at.Up == nil {
			return staleState(errors.New("no state of the patch"))
		}
		if err := json.Unmarshal(at.Blob, &was); err != nil {
			return staleState(err)
		}
		if up = *at.Up; up.Offset != was.Patch {
			return staleState(fmt.Errorf("byte %d of the patch here, byte %d there", was.Patch, up.Offset))
		}
		var err error
		if s.sum, err = trust.RestoreDigest(was.Sum); err != nil {
			return staleState(err)
		}
	}
	base, size, err := s.p.openBase(s.ctx)
	if s.base = base; err != nil {
		return err
	}
	in, err := s.p.patch.Open(s.ctx, up)
	if missing(err) {
		return s.p.useless(s.ctx, err)
	}
	if err != nil {
		return err
	}
	s.patch = &sections{Stream: in, p: s.p, ctx: s.ctx}
	limits := delta.Limits{Memory: s.p.c.DeltaMemory, Size: s.p.size, OldChecked: s.p.baseSHA256 != "", Frame: s.patch.begins, Kept: s.patch.keeps}
	if at.Offset == 0 {
		s.new, err = s.p.format.NewReader(s.ctx, s.base, size, s.patch, limits)
	} else {
		var patch io.Reader
		if patch, err = s.resumed(&was); err != nil {
			return err
		}
		position := delta.Position{Output: at.Offset, Patch: was.Patch, Map: was.Map, State: was.State}
		s.new, err = s.p.format.Resume(s.ctx, s.base, size, patch, position, limits)
	}
	if errors.Is(err, delta.ErrPosition) {
		return staleState(err)
	}
	if err != nil {
		return s.p.judge(s.ctx, err)
	}
	s.marks = s.new.(delta.Marker)
	return nil
}

// resumed is the patch from where a flow goes on, with the map before it.
func (s *flow) resumed(was *flowState) (io.Reader, error) {
	if was.Map.Length == 0 {
		return s.patch, nil
	}
	if was.MapUp == nil || was.MapUp.Offset != was.Map.At {
		return nil, staleState(errors.New("no state of the patch's map"))
	}
	s.patch.maps = []engine.State{*was.MapUp}
	in, err := s.p.patch.Open(s.ctx, *was.MapUp)
	if err != nil {
		return nil, err
	}
	s.again = &sections{Stream: in, p: s.p, ctx: s.ctx}
	return io.MultiReader(io.LimitReader(s.again, was.Map.Length), s.patch), nil
}

func (s *flow) Read(p []byte) (int, error) {
	if s.ended != nil {
		return 0, s.ended
	}
	n, err := s.new.Read(p)
	if _, sumErr := s.sum.Write(p[:n]); sumErr != nil {
		err = errors.Join(err, sumErr)
	}
	switch {
	case err == io.EOF:
		err = s.p.right(s.ctx, s.sum)
	case missing(err):
		err = s.p.useless(s.ctx, err)
	default:
		err = s.p.judge(s.ctx, err)
	}
	s.ended = err
	return n, err
}

func (s *flow) Mark() (engine.State, error) {
	at, err := s.marks.Mark()
	if err != nil {
		return engine.State{}, fmt.Errorf("mark delta: %w", err)
	}
	up, err := s.patch.at(at.Patch)
	if err != nil {
		return engine.State{}, err
	}
	is := flowState{Patch: at.Patch, Map: at.Map, State: at.State}
	if at.Map.Length > 0 {
		kept, err := s.patch.at(at.Map.At)
		if err != nil {
			return engine.State{}, err
		}
		is.MapUp = &kept
	}
	if is.Sum, err = s.sum.State(); err != nil {
		return engine.State{}, fmt.Errorf("mark delta: %w", err)
	}
	blob, err := json.Marshal(is)
	if err != nil {
		return engine.State{}, fmt.Errorf("mark delta: %w", err)
	}
	return engine.State{Offset: at.Output, Blob: blob, Up: &up}, nil
}

// Close waits for the reading of the patch before it closes the patch.
func (s *flow) Close() error {
	var all []error
	if s.new != nil {
		all = append(all, s.new.Close())
	}
	for _, in := range []*sections{s.again, s.patch} {
		if in != nil {
			all = append(all, in.Close())
		}
	}
	if s.base != nil {
		all = append(all, s.base.Close())
	}
	return errors.Join(all...)
}

// keptSections is how many states are kept. A reader of deltas is ahead of its
// output by fewer sections.
const keptSections = 16

// sections is the stream of a patch, with its states at the starts of the last
// sections. Its reader and its user may be two goroutines. Where a connection ends
// it opens the patch again by itself: another try of the step would begin with the
// section, which may be longer than any connection lasts.
type sections struct {
	engine.Stream // of the reader alone
	p             *patched
	ctx           context.Context
	came          bool // something, since the patch was opened

	mu     sync.Mutex
	states []engine.State // by offset
	maps   []engine.State // at the starts of the last maps, by offset
	err    error
}

// reopenWait is the pause before a broken connection is made again.
const reopenWait = 500 * time.Millisecond

// Read reads on over the end of a connection that gave anything.
func (s *sections) Read(p []byte) (int, error) {
	for {
		n, err := s.Stream.Read(p)
		if n > 0 {
			s.came = true
			return n, nil // an error comes again
		}
		var retry *engine.Retry
		if err == nil || !errors.As(err, &retry) || retry.Fresh || !s.came {
			return 0, err
		}
		if err := s.reopen(max(retry.After, reopenWait)); err != nil {
			return 0, err
		}
	}
}

func (s *sections) reopen(wait time.Duration) error {
	at, err := s.Stream.Mark()
	if err != nil {
		return err
	}
	if err := s.p.t.Clock().Sleep(s.ctx, wait); err != nil {
		return err
	}
	in, err := s.p.patch.Open(s.ctx, at)
	if err != nil {
		return err
	}
	old := s.Stream
	s.Stream, s.came = in, false
	return old.Close()
}

// begins notes the state before a section. It is called by the patch's reader.
func (s *sections) begins(int64) {
	state, err := s.Stream.Mark()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
	s.states = lastSections(s.states, state)
}

// lastSections appends a state and leaves out those before the last few.
func lastSections(all []engine.State, state engine.State) []engine.State {
	all = append(all, state)
	return all[max(0, len(all)-keptSections):]
}

// keeps notes that the section there is a map, which is asked for as long as
// the output is in its region. The reader may have come to the next ones by then.
func (s *sections) keeps(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.states {
		if state.Offset == offset {
			s.maps = lastSections(s.maps, state)
		}
	}
}

// at gives the state at the start of a section.
func (s *sections) at(offset int64) (engine.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, states := range [][]engine.State{s.maps, s.states} {
		for _, state := range states {
			if state.Offset == offset {
				return state, s.err
			}
		}
	}
	return engine.State{}, errors.Join(fmt.Errorf("mark delta: no section begins at byte %d of the patch", offset), s.err)
}
