package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/wasmhost"
)

// Options say how hard a case is tried.
type Options struct {
	// Kill makes a [KillSweep] of each case.
	Kill bool
	// Faults makes a [FaultSweep] for each of them.
	Faults []Fault
}

// Verdict is how a case went.
type Verdict struct {
	// Outcome is that of the undisturbed run, nil if the module did not load.
	Outcome *Outcome
	// Failures say what was not as expected; none is a pass.
	Failures []string
	// Points and Runs are those of the sweeps.
	Points, Runs int
}

func (v *Verdict) fail(format string, args ...any) {
	v.Failures = append(v.Failures, fmt.Sprintf(format, args...))
}

// Try runs a case of f. The error is one of the rig; what the module did
// wrong is in the verdict.
func (f *File) Try(ctx context.Context, l *Loader, c *Case, o Options) (Verdict, error) {
	var v Verdict
	setup, err := f.Setup(c)
	if err != nil {
		return v, err
	}
	m, err := l.Load(ctx, c.Limits(), c.Granted())
	if err != nil {
		return v, v.notLoaded(c, err)
	}
	r, err := New(ctx, setup)
	if err != nil {
		return v, err
	}
	if v.Outcome, err = r.Run(ctx, m, c.phases()...); err != nil {
		return v, err
	}
	v.Runs = 1
	v.ended(c)
	if err := v.holds(ctx, r, c); err != nil {
		return v, err
	}
	if len(v.Failures) > 0 {
		return v, nil // a sweep would only repeat them
	}
	return v, v.sweep(ctx, m, setup, c, o)
}

// notLoaded judges a module that was refused: the case may expect that.
func (v *Verdict) notLoaded(c *Case, err error) error {
	var e *wasmhost.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case c.Expect.Error != string(e.Code):
		v.fail("the module does not load: %v", err)
	case !strings.Contains(err.Error(), c.Expect.Reason):
		v.fail("the reason is %q, want %q in it", err, c.Expect.Reason)
	}
	return nil
}

// ended compares how the run ended.
func (v *Verdict) ended(c *Case) {
	o, e := v.Outcome, &c.Expect
	class := e.Class
	if class == "" {
		class = classNames[0]
	}
	switch {
	case e.Error != "" && string(o.Code()) != e.Error:
		v.fail("it ended with %s, want the error %s", o.end(), e.Error)
	case e.Error == "" && (o.Err != nil || ClassName(o.Class) != class):
		v.fail("it ended with %s, want %s", o.end(), class)
	case !strings.Contains(o.Reason(), e.Reason):
		v.fail("the reason is %q, want %q in it", o.Reason(), e.Reason)
	}
	if o.RollbackErr != nil {
		v.fail("rollback: %v", o.RollbackErr)
	}
	if e.FuelAtMost > 0 && o.Usage.Fuel > e.FuelAtMost {
		v.fail("it used %d fuel, want at most %d", o.Usage.Fuel, e.FuelAtMost)
	}
	v.logged(e.Log)
	for _, key := range slices.Sorted(maps.Keys(e.KV)) {
		if got, ok := o.KV[key]; !ok || got != e.KV[key] {
			v.fail("key-value %s is %q, want %q", key, got, e.KV[key])
		}
	}
	if e.Mark != nil && (!o.Marked || o.Mark != *e.Mark) {
		v.fail("the mark is %q, want %q", o.Mark, *e.Mark)
	}
}

// logged looks for parts of lines, in order.
func (v *Verdict) logged(want []string) {
	lines := v.Outcome.Log
	for _, part := range want {
		at := slices.IndexFunc(lines, func(l Line) bool { return strings.Contains(l.Text, part) })
		if at < 0 {
			v.fail("no line of the log has %q, or it stands before one that is expected above it", part)
			return
		}
		lines = lines[at+1:]
	}
}

// holds compares what the targets hold.
func (v *Verdict) holds(ctx context.Context, r *Rig, c *Case) error {
	for _, role := range slices.Sorted(maps.Keys(c.Expect.Targets)) {
		w := c.Expect.Targets[role]
		if got := v.Outcome.Targets[role].Committed; w.Committed != nil && got != *w.Committed {
			v.fail("target %s: committed is %v, want %v", role, got, *w.Committed)
		}
		if err := v.content(ctx, r, c, role, "", w); err != nil {
			return err
		}
		for _, entry := range slices.Sorted(maps.Keys(w.Entries)) {
			if err := v.content(ctx, r, c, role, entry, w.Entries[entry]); err != nil {
				return err
			}
		}
	}
	return nil
}

// content compares the bytes of a target or of a file below it.
func (v *Verdict) content(ctx context.Context, r *Rig, c *Case, role, entry string, w Want) (err error) {
	if w.Artifact == "" && w.SHA256 == "" && w.Text == nil {
		return nil
	}
	name := strings.TrimSuffix(role+"/"+entry, "/")
	b, err := r.Read(ctx, role, entry)
	if errors.Is(err, fs.ErrNotExist) {
		v.fail("target %s is not there", name)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	want := strings.ToLower(w.SHA256)
	if w.Artifact != "" {
		want = r.setup.Artifacts[w.Artifact].SHA256()
	}
	if w.Text != nil {
		want = Bytes([]byte(*w.Text)).SHA256()
	}
	if b.SHA256() != want {
		v.fail("target %s has %d bytes with sha256 %s, want %s", name, b.Size(), b.SHA256(), want)
	}
	return nil
}

// sweep disturbs the run at every point.
func (v *Verdict) sweep(ctx context.Context, m *wasmhost.Module, s Setup, c *Case, o Options) error {
	if o.Kill {
		w, err := KillSweep(ctx, m, s, c.phases()...)
		if err != nil {
			return err
		}
		v.add(w, "killed ")
	}
	for _, fault := range o.Faults {
		w, err := FaultSweep(ctx, m, s, fault, c.phases()...)
		if err != nil {
			return err
		}
		v.add(w, "")
	}
	return nil
}

func (v *Verdict) add(w *Sweep, what string) {
	v.Points += w.Points
	v.Runs += w.Runs
	for _, text := range w.Violations {
		v.fail("%s%s", what, text)
	}
}
