package device

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
)

// Planning wraps a door so that nothing changes: questions and reads are
// answered, each effect is handed to list and answered as if it had been done.
// Handles for writing swallow what is written; their numbers are negative. The
// Bytes of a listed op are borrowed for the call. It may be shared if list may.
func Planning(d Door, list func(Op)) Door {
	return &planning{door: d, list: list, open: map[int64]string{}}
}

type planning struct {
	door Door
	list func(Op)

	mu   sync.Mutex
	last int64
	open map[int64]string // the ref of each handle
}

// Do implements [Door].
func (p *planning) Do(ctx context.Context, op Op) (Answer, error) {
	if op.Kind == Close && op.Handle < 0 {
		return Answer{}, p.close(op.Handle)
	}
	if !op.Kind.Changes() {
		return p.door.Do(ctx, op)
	}
	if ctx.Err() != nil {
		return Answer{}, context.Cause(ctx)
	}
	a, err := p.answer(ctx, &op)
	if err == nil {
		p.list(op)
	}
	return a, err
}

// answer makes up the answer. Ops on handles get the name of their target, so
// that the list can be read by itself.
func (p *planning) answer(ctx context.Context, op *Op) (Answer, error) {
	switch op.Kind {
	case Write, Truncate, Sync, OpenEntry:
		ref, err := p.ref(op.Handle)
		if err != nil {
			return Answer{}, fmt.Errorf("%s: %w", op.Kind, err)
		}
		op.Target = ref
		if op.Kind == OpenEntry {
			if err := checkEntry(op.Entry); err != nil {
				return Answer{}, fmt.Errorf("%s %s: %w", op.Kind, quote(op.Entry), err)
			}
			if op.Perm.IsDir() {
				return Answer{}, nil
			}
			return Answer{Handle: p.handle(ref)}, nil
		}
		return Answer{N: len(op.Bytes)}, nil
	case OpenPort:
		return Answer{Handle: p.handle(op.Target)}, nil
	case Transfer:
		ref, err := p.ref(op.Handle)
		op.Target = ref
		return Answer{}, err
	case Preserve, Invalidate, Open, Commit, Abort:
		a, err := p.door.Do(ctx, Op{Kind: AskTarget, Run: op.Run, Target: op.Target})
		if err != nil {
			return Answer{}, err
		}
		return p.onTarget(ctx, op, a.Target)
	case Restart:
		_, err := p.door.Do(ctx, Op{Kind: AskIncarnation, Run: op.Run, Target: op.Target})
		return Answer{}, err
	}
	return Answer{}, nil
}

func (p *planning) onTarget(ctx context.Context, op *Op, t Target) (Answer, error) {
	op.Target = t.Ref
	a := Answer{Target: t, Digest: op.Digest}
	if t.Type == Slots && t.Active && op.Kind != Abort {
		return Answer{}, fmt.Errorf("%s %s: slot %s is active: %w", op.Kind, t.Ref, t.Part, ErrDenied)
	}
	switch op.Kind {
	case Open:
		a.Handle = p.handle(t.Ref)
	case Preserve:
		a.Undo = Undo{Target: t.Ref}
		if t.Type == File {
			a.Undo.From, a.Undo.None = t.Stamp.SHA256, !t.Active
			break
		}
		boot, err := p.door.Do(ctx, Op{Kind: AskBoot, Run: op.Run, Target: t.Name})
		if err != nil {
			return Answer{}, err
		}
		a.Undo.From, a.Undo.None = boot.Boot.Active, boot.Boot.Active == ""
		if t.Type == Slots {
			a.Undo.To = t.Part
		}
	}
	return a, nil
}

func (p *planning) handle(ref string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last--
	p.open[p.last] = ref
	return p.last
}

func (p *planning) ref(handle int64) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ref, ok := p.open[handle]
	if !ok {
		return "", fmt.Errorf("handle %d: %w", handle, fs.ErrClosed)
	}
	return ref, nil
}

func (p *planning) close(handle int64) error {
	if _, err := p.ref(handle); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, handle)
	return nil
}
