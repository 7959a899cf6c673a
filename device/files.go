package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/updraft-ota/updraft/internal/disk"
)

// Mode says what [Restart] does.
type Mode uint8

// The modes of restarting.
const (
	// RestartExit does nothing for "device": the caller ends, and a machine or
	// a person restarts and then starts it again. A directory's program is
	// restarted by its command.
	RestartExit Mode = iota
	// RestartExec runs the restart command of the scope.
	RestartExec
	// RestartSimulate plays the boot loader on the boot files for "device". A
	// directory's program is restarted by its command, if it has one.
	RestartSimulate
)

// Env is what a [Files] needs of its surroundings.
type Env struct {
	FS    disk.FS
	Clock disk.Clock
	// Exec runs a program in a folder and gives what it printed, 64 KiB at
	// most. It leaves nothing running when ctx ends. [RunCommand] is the real
	// one. nil: a device without commands.
	Exec func(ctx context.Context, argv []string, dir string) (stdout []byte, err error)
	// Tool runs a module's command in a folder and gives its exit status and
	// the last 64 KiB that it printed. [RunTool] is the real one. nil: a device
	// that runs none.
	Tool func(ctx context.Context, argv []string, dir string) (status int, output []byte, err error)
	// Serial opens a serial port. [OpenSerial] is the real one. nil: a device
	// without ports.
	Serial func(path string, baud int) (Port, error)
	// BootID gives what changes with each start of the kernel; see
	// [KernelBootID]. nil: only the boot counters count.
	BootID  func() (string, error)
	Restart Mode
}

// Files is the [Door] to slots, directories and files on a file system. It may
// be shared; effects on one target wait for each other. Only one Files may
// work on a device at a time.
type Files struct {
	config  Config
	env     Env
	places  map[string]*guarded
	boots   []*bootFile
	handles handles
}

var _ Door = (*Files)(nil)

// place is one target behind the door. part is what stands behind the @.
type place interface {
	resolve(run, part string) (Target, error)
	boot() (Boot, error)
	openRead(t Target, entry string) (*handle, error)
	preserve(t Target, op Op) (Undo, error)
	invalidate(t Target, op Op) error
	open(t Target, op Op) (*handle, error)
	commit(ctx context.Context, t Target, op Op) (digest string, err error)
	abort(t Target, op Op) error
	choose(part string, op Op) error
	good(part string, op Op) error
	restore(ctx context.Context, op Op) error
}

// guarded is a place whose effects wait for each other.
type guarded struct {
	place
	busy sync.Mutex
}

// New gives the door to the device that c describes. It reads and writes
// nothing yet. A config that contradicts itself is an error that lists all
// that is wrong.
func New(c Config, env Env) (*Files, error) {
	var all []error
	for _, m := range c.mistakes() {
		all = append(all, fmt.Errorf("%s: %s", m.path, m.text))
	}
	if env.FS == nil || env.Clock == nil {
		all = append(all, errors.New("a file system and a clock are needed"))
	}
	if len(all) > 0 {
		return nil, fmt.Errorf("device: %w", errors.Join(all...))
	}
	f := &Files{config: c, env: env, places: map[string]*guarded{}}
	boots := map[string]*bootFile{}
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		p := c.Targets[name]
		var at place
		switch p.Type() {
		case Slots:
			file := path.Clean(p.Boot.File)
			if boots[file] == nil {
				boots[file] = &bootFile{fs: env.FS, path: file, pairs: map[string]pair{}}
				f.boots = append(f.boots, boots[file])
			}
			at = newSlots(name, p, env.FS, boots[file], &f.handles)
		case Directory:
			at = newDirectory(name, p, env.FS, &f.handles)
		default:
			at = newSingle(name, p, env.FS, &f.handles)
		}
		f.places[name] = &guarded{place: at}
	}
	return f, nil
}

// Config gives what the door was made from.
func (f *Files) Config() Config { return f.config }

// Do implements [Door].
func (f *Files) Do(ctx context.Context, op Op) (Answer, error) {
	if ctx.Err() != nil {
		return Answer{}, context.Cause(ctx)
	}
	a, err := f.do(ctx, op)
	if err != nil {
		what := op.Target
		if what == "" && op.Handle != 0 {
			what = f.handles.name(op.Handle)
		}
		if op.Entry != "" {
			what += " " + quote(op.Entry)
		}
		return Answer{}, fmt.Errorf("%s %s: %w", op.Kind, what, f.explain(err, what))
	}
	return a, nil
}

func (f *Files) do(ctx context.Context, op Op) (Answer, error) {
	switch op.Kind {
	case AskFacts:
		facts, err := f.facts(ctx)
		return Answer{Facts: facts}, err
	case AskIncarnation:
		text, err := f.incarnation(op.Target)
		return Answer{Text: text}, err
	case Restart:
		return Answer{}, f.restart(ctx, op.Target)
	case Read:
		return f.handles.read(op)
	case Write:
		return f.handles.write(op)
	case Truncate:
		return Answer{}, f.handles.truncate(op)
	case Sync:
		return Answer{}, f.handles.sync(op)
	case Close:
		return Answer{}, f.handles.close(op.Handle)
	case OpenEntry:
		return f.handles.openEntry(op)
	case OpenPort:
		return f.openPort(op)
	case Transfer:
		return f.transfer(ctx, op)
	case Execute:
		return f.execute(ctx, op)
	}
	return f.onTarget(ctx, op)
}

// onTarget does the ops that name a target.
func (f *Files) onTarget(ctx context.Context, op Op) (Answer, error) {
	name, part, _ := strings.Cut(op.Target, "@")
	p := f.places[name]
	if p == nil {
		return Answer{}, fmt.Errorf("target %s: %w (have %s)", quote(name), ErrUnknown, strings.Join(f.config.names(), ", "))
	}
	if op.Kind.Changes() {
		if !goodRun.MatchString(op.Run) {
			return Answer{}, fmt.Errorf("run id %s: %w: expected a letter or digit, then up to 127 letters, digits, dots, _ and -", quote(op.Run), ErrDenied)
		}
		p.busy.Lock()
		defer p.busy.Unlock()
	}
	switch op.Kind {
	case AskBoot:
		b, err := p.boot()
		return Answer{Boot: b}, err
	case Choose:
		return Answer{}, p.choose(part, op)
	case Good:
		return Answer{}, p.good(part, op)
	case Restore:
		return Answer{}, p.restore(ctx, op)
	}
	t, err := p.resolve(op.Run, part)
	if err != nil {
		return Answer{}, err
	}
	return f.onResolved(ctx, p, t, op)
}

func (f *Files) onResolved(ctx context.Context, p place, t Target, op Op) (a Answer, err error) {
	a.Target = t
	var h *handle
	switch op.Kind {
	case AskTarget:
	case OpenRead:
		h, err = p.openRead(t, op.Entry)
	case Preserve:
		a.Undo, err = p.preserve(t, op)
	case Invalidate:
		err = p.invalidate(t, op)
	case Open:
		h, err = p.open(t, op)
	case Commit:
		if a.Digest, err = p.commit(ctx, t, op); err == nil {
			a.Target, err = p.resolve(op.Run, partOf(t.Ref))
		}
	case Abort:
		err = errors.Join(f.handles.drop(op.Run, t.Ref), p.abort(t, op))
	default:
		err = fmt.Errorf("kind %d: %w: the door knows no such op", uint8(op.Kind), ErrDenied)
	}
	if h != nil && err == nil {
		h.run, h.ref = op.Run, t.Ref
		a.Size = h.size
		a.Handle, err = f.handles.add(h)
	}
	return a, err
}

func partOf(ref string) string {
	_, part, _ := strings.Cut(ref, "@")
	return part
}

// explain adds what a person needs to know of a full disk.
func (f *Files) explain(err error, what string) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	folder := f.folder(what)
	var p *fs.PathError
	if errors.As(err, &p) && path.IsAbs(p.Path) {
		folder = path.Dir(p.Path)
		if info, err := f.env.FS.Lstat(p.Path); err == nil && info.IsDir() {
			folder = p.Path
		}
	}
	free, freeErr := f.env.FS.Free(folder)
	if freeErr != nil {
		return err
	}
	return fmt.Errorf("%w (%d bytes free in %s)", err, free, folder)
}

// folder is where a target, named with or without more, has its bytes.
func (f *Files) folder(what string) string {
	name, _, _ := strings.Cut(what, "@")
	name, _, _ = strings.Cut(name, " ")
	p := f.config.Targets[name]
	switch p.Type() {
	case Directory:
		return p.Directory
	case File:
		return path.Dir(p.File)
	}
	return path.Dir(p.Boot.File)
}

// quote makes what somebody else wrote fit for a message.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// String gives the verb of k, such as "commit".
func (k Kind) String() string {
	name, ok := kinds[k]
	if !ok {
		return fmt.Sprintf("op %d", uint8(k))
	}
	return name
}

var kinds = map[Kind]string{
	AskFacts: "ask facts", AskTarget: "resolve", AskBoot: "ask boot state of", AskIncarnation: "ask incarnation of",
	OpenRead: "open for reading", Read: "read", Close: "close",
	Preserve: "preserve", Invalidate: "invalidate", Open: "open", OpenEntry: "open entry of", Write: "write", Truncate: "truncate",
	Sync: "sync", Commit: "commit", Abort: "abort", Choose: "choose", Good: "mark good", Restart: "restart", Restore: "restore",
	OpenPort: "open serial port", Transfer: "transfer through", Execute: "run",
}
