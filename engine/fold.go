package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// run is the fold of a run's records. Only append changes it, so that memory
// and journal cannot differ.
type run struct {
	id       string
	seq      uint64 // records so far
	crc      uint32 // of the last one
	values   map[string][]byte
	accepted *accepted
	commands []CommandRef
	lost     *lost // set if the journal was rebuilt
	steps    map[string]*stepState
	intents  []string // step ids, in order of their first intent
	outputs  map[string]map[string]any
	release  map[string]any

	armed     *armed
	armedStep string
	booted    time.Time // wall clock of the record, zero if not booted since the last armed
	proven    bool      // a booted record followed a forward armed one
	confirmed bool
	failing   *failing
	failStep  string
	ended     *ended
	endedAt   time.Time
	began     time.Time
	reported  map[string]bool
}

type stepState struct {
	intent  *intent
	begun   bool // its bytes flow into a step with an intent
	done    *done
	undone  bool
	attempt int // tries that failed
}

func newRun(id string) *run {
	return &run{id: id, values: map[string][]byte{}, steps: map[string]*stepState{},
		outputs: map[string]map[string]any{}, reported: map[string]bool{}}
}

// fold plays a log. Damage is [ErrStore].
func fold(id string, log Log) (*run, error) {
	r := newRun(id)
	maps.Copy(r.values, log.Values)
	records, err := decodeLog(id, log.Entries)
	if err != nil {
		return r, err
	}
	for _, rec := range records {
		if err := r.add(rec); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *run) step(id string) *stepState {
	s := r.steps[id]
	if s == nil {
		s = &stepState{}
		r.steps[id] = s
	}
	return s
}

// add takes one record into account.
func (r *run) add(rec Record) error {
	var err error
	get := func(v any) {
		// Numbers stay as they were written: a float64 would round large ones.
		dec := json.NewDecoder(bytes.NewReader(rec.Data))
		dec.UseNumber()
		if e := dec.Decode(v); e != nil && err == nil {
			err = fmt.Errorf("%w: record %d (%s): %v", ErrStore, rec.Seq, rec.Kind, e)
		}
	}
	switch rec.Kind {
	case KindAccepted:
		r.accepted = &accepted{}
		get(r.accepted)
		r.commands, r.began = slices.Clone(r.accepted.Commands), rec.Wall
	case KindJoined:
		var c CommandRef
		get(&c)
		r.commands = append(r.commands, c)
	case KindLost:
		r.lost = &lost{}
		get(r.lost)
		if r.accepted = r.lost.Accepted; r.accepted != nil {
			r.commands = slices.Clone(r.accepted.Commands)
		}
		r.began = rec.Wall
	case KindIntent:
		s := r.step(rec.Step)
		if s.intent == nil {
			r.intents = append(r.intents, rec.Step)
		}
		s.intent = &intent{}
		get(s.intent)
		for _, id := range s.intent.Chain {
			r.step(id).begun = true
		}
		r.learn(s.intent.Outputs, s.intent.Release)
	case KindRetry:
		r.step(rec.Step).attempt = rec.Attempt
	case KindDone:
		s := r.step(rec.Step)
		s.done = &done{}
		get(s.done)
		r.learn(s.done.Outputs, s.done.Release)
	case KindArmed:
		r.armed, r.armedStep, r.booted = &armed{}, rec.Step, time.Time{}
		get(r.armed)
	case KindBooted:
		r.booted, r.proven = rec.Wall, true
	case KindConfirmed:
		r.confirmed = true
	case KindFailing:
		r.failing, r.failStep = &failing{}, rec.Step
		get(r.failing)
	case KindUndone:
		r.step(rec.Step).undone = true
	case KindEnded:
		r.ended, r.endedAt = &ended{}, rec.Wall
		get(r.ended)
	case KindReported:
		var id string
		get(&id)
		r.reported[id] = true
	default:
		err = fmt.Errorf("%w: record %d has unknown kind %q", ErrStore, rec.Seq, rec.Kind)
	}
	r.seq, r.crc = rec.Seq+1, rec.CRC
	return err
}

func (r *run) learn(outputs map[string]map[string]any, release map[string]any) {
	maps.Copy(r.outputs, outputs)
	if release != nil {
		r.release = release
	}
}

// later orders ended runs. Their times are the last resort: a device without
// a clock starts in the past.
func (r *run) later(other *run) int {
	return cmp.Or(cmp.Compare(r.ended.Order, other.ended.Order), r.endedAt.Compare(other.endedAt))
}

// changed reports whether anything may have been changed on the device.
func (r *run) changed() bool { return len(r.intents) > 0 || r.armed != nil || r.lost != nil }
