package stages

import (
	"cmp"
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// Patch makes an artifact from something that the device has and the patch of
// another step. The whole patch is brought to the disk and checked
// before the first byte is made. For the deltas of a release no patch step is
// needed: fetch applies them itself.
type Patch struct {
	// Artifact is the step that gives the patch.
	Artifact string `yaml:"artifact,literal,required"`
	// Base is what the patch starts from: a target such as rootfs@active, or a
	// file in a directory such as app@active/bin/server.
	Base string `yaml:"base,target,required"`
	// Format is the format of the patch. The default is udelta.
	Format string `yaml:"format"`
	// BaseSize is how many bytes of the base the patch starts from. The
	// default is all that the target is stamped with.
	BaseSize int64 `yaml:"baseSize,size"`
	// BaseSHA256 is the SHA-256 of these bytes in lower-case hex. Without it
	// a wrong base is noticed only by what comes out.
	BaseSHA256 string `yaml:"baseSha256"`
	// Size is the size of what comes out.
	Size int64 `yaml:"size,size"`
	// SHA256 is the SHA-256 of what comes out, in lower-case hex. It may be
	// missing only if the device file wants no trust at all.
	SHA256 string `yaml:"sha256"`

	c *Config
}

var _ engine.Filter = (*Patch)(nil)

// Reads gives the step with the patch.
func (p *Patch) Reads() []string { return []string{p.Artifact} }

// Check reports what is wrong with the fields before a run.
func (p *Patch) Check(report func(field, text string)) {
	if _, err := delta.Lookup(p.format()); err != nil {
		report("format", err.Error())
	}
	for field, sum := range map[string]string{"sha256": p.SHA256, "baseSha256": p.BaseSHA256} {
		if sum == "" {
			continue
		}
		if _, err := trust.ParseSHA256(sum); err != nil {
			report(field, err.Error())
		}
	}
	if p.Size < 0 || p.BaseSize < 0 {
		report("", "size and baseSize are numbers of bytes, want none below 0")
	}
}

func (p *Patch) format() string { return cmp.Or(p.Format, "udelta") }

// Filter gives the new artifact as a source.
func (p *Patch) Filter(ctx context.Context, t *engine.Task, in []engine.Source) (engine.Source, error) {
	if err := checkFields(p); err != nil {
		return nil, err
	}
	if p.SHA256 == "" && p.c.Trust.Require != trust.None {
		return nil, refused("untrusted", "the device file wants trust.require: %v: give the sha256 of what the patch makes", p.c.Trust.Require)
	}
	format, err := delta.Lookup(p.format())
	if err != nil {
		return nil, &engine.Failure{Code: "usage", Err: err}
	}
	ref, err := p.base(ctx, t)
	if err != nil {
		return nil, err
	}
	return &patched{
		c: p.c, t: t, format: format, patch: in[0],
		base: ref, baseSize: cmp.Or(p.BaseSize, -1), baseSHA256: p.BaseSHA256,
		size: cmp.Or(p.Size, delta.AnySize), digest: p.SHA256,
	}, nil
}

// base is resolved once: what is active may be another slot after a restart.
func (p *Patch) base(ctx context.Context, t *engine.Task) (string, error) {
	if saved := t.Saved("base"); saved != nil {
		return string(saved), nil
	}
	ref, err := resolveBase(ctx, t, p.Base)
	if err != nil {
		return "", fmt.Errorf("patch: %w", err)
	}
	return ref, t.Save(ctx, "base", []byte(ref))
}
