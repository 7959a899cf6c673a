package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gabstv/go-bsdiff/pkg/bsdiff"
	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

// newRelease is what release new was asked for.
type newRelease struct {
	name, version string
	security      int64
	artifacts     []namedFile
	bases         []namedFile
	format        delta.Format
	level         delta.Level
	out           string
}

// namedFile is NAME=FILE of a flag.
type namedFile struct{ name, file string }

// madeRelease is the result of release new.
type madeRelease struct {
	Manifest string         `json:"manifest"` // path of the file
	Release  *trust.Release `json:"release"`
	LeftOut  []leftOut      `json:"leftOut"`
}

// leftOut is a delta that would not have saved anything.
type leftOut struct {
	Artifact string `json:"artifact"`
	Base     string `json:"base"`
	Size     int64  `json:"size"` // bytes that the delta would have had
	Full     int64  `json:"full"` // bytes of the artifact
}

func (p *program) releaseNewCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "new",
		Short: "Put artifacts and deltas into a folder with a manifest",
		Long: `Write the artifacts, deltas from older versions of them and the manifest
release.json into a folder that any file server can serve; the addresses in the
manifest are relative to it. Each delta is applied once to prove it. One that is
not smaller than its artifact is left out. Making a delta holds both files in
memory a few times; everything else is a stream.`,
		Example: `  updraft release new --name gateway --version 1.1 --artifact image=v11.img \
      --delta-from image=v10.img --delta-from image=v09.img --out dist`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	var r newRelease
	f := c.Flags()
	f.StringVar(&r.name, "name", "", "`NAME` of the product (required)")
	f.StringVar(&r.version, "version", "", "`VERSION` of the release (required)")
	f.Int64Var(&r.security, "security-version", 0, "`N` that rises when older releases must no longer be installed")
	artifacts := f.StringArray("artifact", nil, "`NAME=FILE`, repeatable (required)")
	bases := f.StringArray("delta-from", nil, "`NAME=FILE`, an older version of an artifact, repeatable")
	f.StringVar(&r.out, "out", "", "folder `DIR` to write (required)")
	must(c.MarkFlagDirname("out"))
	format, level := addFormat(c, "delta-format", "vcdiff"), addLevel(c, "level")
	asJSON := f.Bool("json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		err := needs(cmd, "name", "version", "artifact", "out")
		if err == nil {
			r.level = delta.Level(level.value)
			r.format, err = delta.Lookup(format.value)
		}
		if err == nil {
			err = r.files(*artifacts, *bases)
		}
		if err != nil {
			return err
		}
		made, err := r.make(cmd.Context())
		if err != nil {
			return err
		}
		return p.printNewRelease(made, *asJSON)
	}
	return c
}

func (p *program) printNewRelease(made madeRelease, asJSON bool) error {
	for _, l := range made.LeftOut {
		p.say("left out the delta of %s from %s: it has %s, the whole artifact %s", l.Artifact, l.Base, agent.ByteCount(l.Size), agent.ByteCount(l.Full))
	}
	if asJSON {
		return p.printJSON(made)
	}
	p.say("sign it: updraft release sign %s --key NAME.key", filepath.Dir(made.Manifest))
	for _, a := range made.Release.Artifacts {
		if err := p.print("%s: %s", a.Name, agent.ByteCount(a.Size)); err != nil {
			return err
		}
		for _, d := range a.Deltas {
			if err := p.print("%s from %.12s: %s, %.2f %%", a.Name, d.BaseSHA256, agent.ByteCount(d.Size), 100*float64(d.Size)/float64(a.Size)); err != nil {
				return err
			}
		}
	}
	return p.print("%s: release %s %s", made.Manifest, made.Release.Name, made.Release.Version)
}

// files reads the flags that name files. All that can be wrong without reading
// the files is found here, before anything is written.
func (r *newRelease) files(artifacts, bases []string) (err error) {
	if r.artifacts, err = namedFiles("artifact", artifacts); err != nil {
		return err
	}
	if r.bases, err = namedFiles("delta-from", bases); err != nil {
		return err
	}
	var names []string
	for _, a := range r.artifacts {
		if strings.HasPrefix(a.name, manifestName) {
			return usagef("--artifact %s: an artifact cannot be called like the manifest", a.name)
		}
		if slices.Contains(names, a.name) {
			return usagef("--artifact %s: the name was given twice", a.name)
		}
		names = append(names, a.name)
	}
	for _, b := range r.bases {
		if !slices.Contains(names, b.name) {
			return usagef("--delta-from %s=%s: there is no --artifact of that name (have %s)", b.name, b.file, strings.Join(names, ", "))
		}
	}
	return r.draft()
}

// draft checks names and numbers by the manifest's own rules.
func (r *newRelease) draft() error {
	m := trust.Release{Name: r.name, Version: r.version, SecurityVersion: r.security}
	for _, a := range r.artifacts {
		m.Artifacts = append(m.Artifacts, trust.Artifact{Name: a.name, SHA256: strings.Repeat("0", 64), URL: relative(a.name)})
	}
	if _, err := m.Encode(); err != nil {
		return &usageError{err: err}
	}
	return nil
}

func namedFiles(flag string, values []string) ([]namedFile, error) {
	var out []namedFile
	for _, v := range values {
		name, file, ok := strings.Cut(v, "=")
		if !ok || name == "" || file == "" {
			return nil, usagef("--%s %s: expected NAME=FILE, such as image=rootfs.img", flag, v)
		}
		out = append(out, namedFile{name, file})
	}
	return out, nil
}

// relative is the address of a file beside the manifest.
func relative(name string) string { return (&url.URL{Path: name}).String() }

// make writes everything, the manifest last.
func (r *newRelease) make(ctx context.Context) (madeRelease, error) {
	manifest := filepath.Join(r.out, manifestName)
	if exists, err := disk.Exists(disk.OS(), manifest); err != nil {
		return madeRelease{}, err
	} else if exists {
		return madeRelease{}, usagef("%s exists already: choose another folder for --out, or remove the old release", manifest)
	}
	for _, f := range slices.Concat(r.artifacts, r.bases) { // a slip in a name is found before anything is written
		file, _, err := openFile(disk.OS(), f.file)
		if err == nil {
			err = file.Close()
		}
		if err != nil {
			return madeRelease{}, err
		}
	}
	if err := disk.MkdirAll(disk.OS(), r.out, 0o755); err != nil {
		return madeRelease{}, inputError(err)
	}
	made := madeRelease{Manifest: manifest, LeftOut: []leftOut{},
		Release: &trust.Release{Updraft: trust.ReleaseFormat, Name: r.name, Version: r.version, SecurityVersion: r.security}}
	for _, a := range r.artifacts {
		artifact, err := r.artifact(ctx, a)
		if err != nil {
			return made, err
		}
		for _, b := range r.bases {
			if b.name != a.name {
				continue
			}
			if err := r.delta(ctx, b, &artifact, &made.LeftOut); err != nil {
				return made, err
			}
		}
		made.Release.Artifacts = append(made.Release.Artifacts, artifact)
	}
	text, err := made.Release.Encode()
	if err != nil {
		return made, err
	}
	return made, disk.WriteFile(disk.OS(), manifest, text, 0o644)
}

// artifact copies a file into the folder.
func (r *newRelease) artifact(ctx context.Context, a namedFile) (_ trust.Artifact, err error) {
	file, data, err := openFile(disk.OS(), a.file)
	if err != nil {
		return trust.Artifact{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out, err := create(disk.OS(), filepath.Join(r.out, a.name), 0o644)
	if err != nil {
		return trust.Artifact{}, err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), cancelReader{ctx, data})
	if err := out.finish(err); err != nil {
		return trust.Artifact{}, err
	}
	return trust.Artifact{Name: a.name, Size: out.size, SHA256: hexSum(sum), URL: relative(a.name)}, nil
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// delta adds a delta from an older file to an artifact that is in the folder
// already.
func (r *newRelease) delta(ctx context.Context, base namedFile, a *trust.Artifact, left *[]leftOut) (err error) {
	oldFile, older, err := openFile(disk.OS(), base.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, oldFile.Close()) }()
	newFile, newer, err := openFile(disk.OS(), filepath.Join(r.out, a.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, newFile.Close()) }()
	baseSum := sha256.New()
	if _, err := io.Copy(baseSum, cancelReader{ctx, older}); err != nil {
		return fmt.Errorf("read %s: %w", base.file, err)
	}
	d := trust.Delta{Format: r.format.Name(), BaseSize: older.Size(), BaseSHA256: hexSum(baseSum)}
	if slices.ContainsFunc(a.Deltas, func(o trust.Delta) bool { return o.BaseSHA256 == d.BaseSHA256 }) {
		return usagef("--delta-from %s=%s: another --delta-from has the same content", base.name, base.file)
	}
	name := fmt.Sprintf("%s-from-%.12s.%s", a.Name, d.BaseSHA256, d.Format)
	if slices.ContainsFunc(r.artifacts, func(o namedFile) bool { return o.name == name }) {
		return usagef("--artifact %s: a delta gets that name", name)
	}
	out, err := create(disk.OS(), filepath.Join(r.out, name), 0o644)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = delta.Make(ctx, r.format, io.MultiWriter(out, sum), older, newer, delta.Options{Level: r.level, Bsdiff: bsdiff.Bytes})
	if err != nil {
		return out.abort(fmt.Errorf("delta of %s from %s: %w", a.Name, base.file, err))
	}
	if out.size >= a.Size {
		*left = append(*left, leftOut{a.Name, base.file, out.size, a.Size})
		return out.abort(nil)
	}
	if err := r.prove(ctx, older, out, *a); err != nil {
		return out.abort(fmt.Errorf("delta of %s from %s: %w", a.Name, base.file, err))
	}
	d.URL, d.Size, d.SHA256 = relative(name), out.size, hexSum(sum)
	a.Deltas = append(a.Deltas, d)
	return out.commit()
}

// prove applies the delta as a device will.
func (r *newRelease) prove(ctx context.Context, older *io.SectionReader, patch *outFile, a trust.Artifact) error {
	limits := delta.Limits{Memory: r.format.Need(older.Size(), a.Size), Size: a.Size}
	stream, err := r.format.NewReader(ctx, older, older.Size(), io.NewSectionReader(patch.file, 0, patch.size), limits)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, stream)
	if err = errors.Join(err, stream.Close()); err != nil {
		return err
	}
	if hexSum(sum) != a.SHA256 {
		return errors.New("applying it gives another file: this is a bug of updraft")
	}
	return nil
}
