package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasmhost"
)

// clone is the same device as it stands, on a disk of its own. Nothing of it
// is open.
func (r *Rig) clone(ctx context.Context) (*Rig, error) {
	memory, ok := r.fs.(*disk.Forgetful)
	if !ok {
		return nil, errors.New("only a device in memory can be copied: leave FS empty")
	}
	c := *r
	c.fs, c.journal, c.points = memory.Clone(), &journal{text: r.journal.text}, points{}
	c.said = slices.Clone(r.said)
	return &c, c.open(ctx)
}

// cut stops the machine and starts it again.
func (r *Rig) cut(ctx context.Context, mode disk.Cut) error {
	memory, ok := r.fs.(*disk.Forgetful)
	if !ok {
		return errors.New("only a device in memory can lose its power: leave FS empty")
	}
	memory.Cut(mode)
	r.points = points{}
	return r.open(ctx)
}

// journal keeps a checkpoint as JSON, as a real one does.
type journal struct{ text []byte }

func (j *journal) last() (c wasmhost.Checkpoint, err error) {
	if j.text != nil {
		err = json.Unmarshal(j.text, &c)
	}
	return c, err
}

func (j *journal) save(c wasmhost.Checkpoint) error {
	text, err := json.Marshal(c)
	if err == nil {
		j.text = text
	}
	return err
}

// begin puts the key-values and the mark of the setup into the journal.
func (r *Rig) begin(m *wasmhost.Module) error {
	if len(r.setup.KV) == 0 && r.setup.Mark == nil {
		return nil
	}
	c := wasmhost.Checkpoint{Module: m.Digest(), KV: map[string][]byte{}}
	for k, v := range r.setup.KV {
		c.KV[k] = []byte(v)
	}
	if r.setup.Mark != nil {
		c.Mark, c.Marked = []byte(*r.setup.Mark), true
	}
	return r.journal.save(c)
}
