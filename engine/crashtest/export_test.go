package crashtest

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
)

// LateSync is a mutant: a commit syncs and stamps only when the next effect
// comes, so that `done` is in the journal before the bytes are safe.
func LateSync(door device.Door, store engine.Store) (device.Door, engine.Store) {
	return &lateSync{Door: door}, store
}

type lateSync struct {
	device.Door
	owed []device.Op
}

func (l *lateSync) Do(ctx context.Context, op device.Op) (device.Answer, error) {
	if op.Kind == device.Commit {
		l.owed = append(l.owed, op)
		return device.Answer{Digest: op.Digest}, nil
	}
	if op.Kind.Changes() {
		for _, o := range l.owed {
			if a, err := l.Door.Do(ctx, o); err != nil {
				return a, err
			}
		}
		l.owed = nil
	}
	return l.Door.Do(ctx, op)
}

// EarlyChoice is a mutant: the boot choice is made before `armed` is in the
// journal.
func EarlyChoice(door device.Door, store engine.Store) (device.Door, engine.Store) {
	return door, &earlyChoice{store, door}
}

type earlyChoice struct {
	engine.Store
	door device.Door
}

func (e *earlyChoice) Apply(ctx context.Context, b engine.Batch) error {
	for _, entry := range b.Append {
		kind, _ := engine.KindOf(entry.Bytes)
		if kind != engine.KindArmed {
			continue
		}
		var rec struct {
			Data struct {
				Choices []struct{ Target, To string }
			}
		}
		if err := json.Unmarshal(entry.Bytes, &rec); err != nil {
			return err
		}
		for _, c := range rec.Data.Choices {
			if _, err := e.door.Do(ctx, device.Op{Kind: device.Choose, Run: b.Run, Target: c.Target, To: strings.Clone(c.To), Tries: 3}); err != nil {
				return err
			}
		}
	}
	return e.Store.Apply(ctx, b)
}
