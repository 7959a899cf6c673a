package stages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
)

// Install writes artifacts to targets. With a module, the vendor's WebAssembly
// does it, with nothing but the roles that stand here; without one, a single artifact
// is copied to a single target. What is written takes hold only after every
// artifact was read to its end and its digest was right. Slots and directories
// are switched by confirm; a file is replaced at once, and comes back on failure.
type Install struct {
	// Module is the vendor's install module, a path beside the workflow, with
	// @sha256: and its digest behind it if nothing else may be there.
	// Without a module the artifact is copied as it is.
	Module string `yaml:"module,file"`
	// Artifacts gives each of the module's artifact roles the step whose
	// bytes it reads. Without a module there is one, of any name.
	Artifacts map[string]string `yaml:"artifacts,literal,required"`
	// Targets gives each of the module's target roles a target of the device.
	// Without a module there is one, of any name.
	Targets map[string]Grant `yaml:"targets,required"`
	// With are the module's settings.
	With map[string]any `yaml:"with"`
	// Grants are what the module may reach beside its artifacts and targets:
	// serial:PORT and exec:COMMAND of the device file, http:HOST or
	// http:HOST:PORT for requests to that host by https, and reboot, to ask for
	// a restart. What the device file does not grant too stays denied. With
	// serial, exec or http the artifacts are stored and verified before the step begins.
	Grants []string `yaml:"grants"`
	// Entry is the file to write below a directory target, when there is no module.
	Entry string `yaml:"entry"`
	// Perm are the permissions of Entry, in octal. The default is "0755".
	Perm string `yaml:"perm"`

	c *Config
}

// Grant is one target that an install step may use.
type Grant struct {
	// Target is a target of the device file: a slot pair as "name@inactive",
	// a directory or a file as its name.
	Target string `yaml:"target,target,required"`
	// Mode is write, the default, or read.
	Mode string `yaml:"mode"`
	// Quota caps what may be written, such as 512MiB. The default is what the target holds.
	Quota int64 `yaml:"quota,size"`
}

// Check reports what is wrong with the fields before a run.
func (s *Install) Check(report func(field, text string)) {
	for _, role := range slices.Sorted(maps.Keys(s.Targets)) {
		if m := s.Targets[role].Mode; m != "" && m != "write" && m != "read" {
			report("targets."+role+".mode", fmt.Sprintf("unknown mode %q, want write or read", m))
		}
	}
	s.checkGrants(report)
	if s.Perm != "" {
		if _, err := parsePerm(s.Perm); err != nil {
			report("perm", err.Error())
		}
	}
	if s.Module != "" {
		if s.Entry != "" || s.Perm != "" {
			report("entry", "a module names its entries itself")
		}
		return
	}
	if len(s.Artifacts) != 1 {
		report("artifacts", fmt.Sprintf("want one artifact without a module, have %d", len(s.Artifacts)))
	}
	if len(s.Targets) != 1 {
		report("targets", fmt.Sprintf("want one target without a module, have %d", len(s.Targets)))
	}
}

func parsePerm(text string) (fs.FileMode, error) {
	if text == "" {
		return 0o755, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("permissions %q, want octal digits such as \"0755\"", text)
	}
	return fs.FileMode(n), nil
}

// artifactRoles are the roles in the order of Reads.
func (s *Install) artifactRoles() []string { return slices.Sorted(maps.Keys(s.Artifacts)) }

func (s *Install) targetRoles() []string { return slices.Sorted(maps.Keys(s.Targets)) }

// Reads gives the steps whose bytes are installed.
func (s *Install) Reads() []string {
	var ids []string
	for _, role := range s.artifactRoles() {
		ids = append(ids, s.Artifacts[role])
	}
	return ids
}

// Touches gives the targets that are written.
func (s *Install) Touches() []string {
	var refs []string
	for _, role := range s.targetRoles() {
		if g := s.Targets[role]; g.Mode != "read" {
			refs = append(refs, g.Target)
		}
	}
	return refs
}

// Stored reports whether the artifacts must be whole and verified first: for a
// module that wants random access or may act beside its targets, and for files,
// which cannot be held back like a slot or a directory.
func (s *Install) Stored(ctx context.Context, t *engine.Task) (bool, error) {
	if s.acts() {
		return true, nil
	}
	if s.Module != "" {
		m, err := s.loadModule(ctx, t)
		if err != nil {
			return false, err
		}
		if m.wantsRandom() {
			return true, nil
		}
	}
	for _, ref := range s.Touches() {
		target, err := client(t).Resolve(ctx, ref)
		if err != nil {
			return false, fmt.Errorf("target %s: %w", ref, err)
		}
		if target.Type == device.File {
			return true, nil
		}
	}
	return false, nil
}

// Probe finds out whether every target was committed before the power went. A
// stamp that was there before the step began is an earlier step's of this run.
func (s *Install) Probe(ctx context.Context, t *engine.Task) (engine.Found, error) {
	touched := s.Touches()
	if len(touched) == 0 { // a module's work that no target of the device tells of
		return engine.Partial, nil
	}
	for _, ref := range touched {
		was := t.Targets[ref]
		now, err := client(t).Resolve(ctx, was.Ref)
		if err != nil {
			return 0, fmt.Errorf("target %s: %w", ref, err)
		}
		if now.Stamp.Run != t.Run || now.Stamp == was.Stamp {
			return engine.Partial, nil
		}
		if s.Module == "" { // what Do would have set
			t.SetOutput("size", now.Stamp.Size)
			t.SetOutput("sha256", now.Stamp.Source)
		}
	}
	return engine.Done, nil
}

// Skipped sets the outputs of an artifact that is installed already.
func (s *Install) Skipped(t *engine.Task) {
	if s.Module != "" {
		return
	}
	if size := t.In[0].Size(); size >= 0 {
		t.SetOutput("size", size)
	}
	t.SetOutput("sha256", t.In[0].Digest())
}

// Do installs. A repeated call goes on at the last checkpoint.
func (s *Install) Do(ctx context.Context, t *engine.Task) error {
	if s.Module != "" {
		return s.runModule(ctx, t)
	}
	grant := s.Targets[s.targetRoles()[0]]
	return s.copy(ctx, t, t.In[0], t.Targets[grant.Target], grant)
}

// copy writes one artifact to one target and commits it.
func (s *Install) copy(ctx context.Context, t *engine.Task, src engine.Source, target device.Target, grant Grant) error {
	if grant.Quota > 0 && src.Size() > grant.Quota {
		return &engine.Failure{Code: "quota", Err: fmt.Errorf("artifact has %d bytes, the grant allows %d", src.Size(), grant.Quota)}
	}
	if target.Type == device.Slots {
		if err := client(t).Invalidate(ctx, target.Ref); err != nil {
			return fmt.Errorf("invalidate %s: %w", target.Ref, err)
		}
	}
	w, err := s.open(ctx, t, target, grant)
	if err != nil {
		return err
	}
	wrote, err := t.Copy(ctx, src, w)
	if err == nil && target.Type != device.Slots {
		err = w.Truncate(wrote.Size)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	stamp := device.Stamp{Version: releaseVersion(t), Size: wrote.Size, Run: t.Run, Source: wrote.SHA256}
	// Of a directory it is the digest of its one file.
	if _, err := client(t).Commit(ctx, target.Ref, wrote.Size, wrote.SHA256, stamp); err != nil {
		return fmt.Errorf("commit %s: %w", target.Ref, err)
	}
	t.SetOutput("size", wrote.Size)
	t.SetOutput("sha256", wrote.SHA256)
	return nil
}

func (s *Install) open(ctx context.Context, t *engine.Task, target device.Target, grant Grant) (*device.Writer, error) {
	w, err := client(t).OpenWriter(ctx, target.Ref, grant.Quota)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", target.Ref, err)
	}
	if target.Type != device.Directory {
		return w, nil
	}
	if s.Entry == "" {
		return nil, errors.Join(&engine.Failure{Code: "usage", Err: errors.New("a directory target needs entry, the file to write")}, w.Close())
	}
	perm, err := parsePerm(s.Perm)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	entry, err := w.OpenEntry(s.Entry, perm)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s in %s: %w", s.Entry, target.Ref, err), w.Close())
	}
	return entry, nil
}

func client(t *engine.Task) device.Client { return device.Client{Door: t.Door, Run: t.Run} }

// releaseVersion is the version that a stamp gets: that of the release, or the run's id.
func releaseVersion(t *engine.Task) string {
	if v, ok := t.Scope.Release["version"].(string); ok && v != "" {
		return v
	}
	return t.Run
}

// Plan lists what would be written: exactly the artifact's size without a
// module, at most the grant's quota with one.
func (s *Install) Plan(_ context.Context, t *engine.Task) ([]engine.Effect, error) {
	var out []engine.Effect
	for _, role := range s.targetRoles() {
		grant := s.Targets[role]
		target, ok := t.Targets[grant.Target]
		if !ok {
			continue // only read
		}
		e := engine.Effect{Step: t.Step, Kind: "write", Target: target.Ref, Undo: undoOf(target.Type), Certainty: engine.Exact}
		switch {
		case s.Module != "":
			e.Bytes, e.Certainty = grant.Quota, engine.AtMost
			if grant.Quota == 0 {
				e.Bytes, e.Certainty = target.Space, engine.Unknown
			}
			e.Detail = fmt.Sprintf("by module %s as role %s", s.Module, role)
		case t.In[0].Size() < 0:
			e.Certainty = engine.Unknown
		default:
			e.Bytes = t.In[0].Size()
		}
		out = append(out, e)
	}
	for _, g := range s.effects() {
		out = append(out, engine.Effect{Step: t.Step, Kind: string(g.Kind()), Target: g.Name(), Undo: "as far as the module's rollback can",
			Certainty: engine.Unknown, Detail: fmt.Sprintf("by module %s, if it wants", s.Module)})
	}
	return out, nil
}

func undoOf(t device.Type) string {
	switch t {
	case device.Slots:
		return "the running slot is not touched"
	case device.Directory:
		return "the new version is removed"
	}
	return "the file as it was is put back"
}
