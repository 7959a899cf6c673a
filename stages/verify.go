package stages

import (
	"cmp"
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// Verify lets the bytes of another step through and ends with an error unless
// all of them are what somebody vouched for. Nothing takes hold before that: a
// slot or directory is committed only after the end of the stream.
//
// Without sha256 and minisign it compares with the digest that the artifact's
// own step promised, which must then have one.
type Verify struct {
	// Artifact is the step whose bytes are verified.
	Artifact string `yaml:"artifact,literal,required"`
	// SHA256 is what the bytes must have, in lower-case hex.
	SHA256 string `yaml:"sha256"`
	// Minisign is a signature over the bytes.
	Minisign *Minisign `yaml:"minisign"`

	c *Config
}

// Minisign is a prehashed signature in the format of the minisign program, by
// one of the keys of the device file.
type Minisign struct {
	// Signature is the address of the signature file: an http, https or file
	// URL or a plain path.
	Signature string `yaml:"signature,required"`
}

var _ engine.Filter = (*Verify)(nil)

// Reads gives the step that is verified.
func (v *Verify) Reads() []string { return []string{v.Artifact} }

// Check reports what is wrong with the fields before a run.
func (v *Verify) Check(report func(field, text string)) {
	if v.SHA256 == "" {
		return
	}
	if _, err := trust.ParseSHA256(v.SHA256); err != nil {
		report("sha256", err.Error())
	}
}

// Filter gives the same artifact, verified at its end.
func (v *Verify) Filter(ctx context.Context, t *engine.Task, in []engine.Source) (engine.Source, error) {
	if err := checkFields(v); err != nil {
		return nil, err
	}
	promised := in[0].Digest()
	if promised != "" && v.SHA256 != "" && promised != v.SHA256 {
		return nil, &engine.Failure{Code: "digest", Err: fmt.Errorf("step %s gives the SHA-256 %s, want %s", v.Artifact, promised, v.SHA256)}
	}
	src := &checked{in: in[0], digest: cmp.Or(v.SHA256, promised)}
	if src.digest != "" {
		src.checks = append(src.checks, sha256Check(src.digest))
	}
	if v.Minisign != nil {
		c, err := v.signed(ctx, t)
		if err != nil {
			return nil, err
		}
		src.checks = append(src.checks, c)
	}
	if len(src.checks) == 0 {
		return nil, &engine.Failure{Code: "usage", Err: fmt.Errorf("there is nothing to verify step %s with: give sha256 or minisign", v.Artifact)}
	}
	return src, nil
}

// signed reads the signature, once for the run, and makes the check that wants
// it.
func (v *Verify) signed(ctx context.Context, t *engine.Task) (check, error) {
	if len(v.c.Trust.Keys) == 0 {
		return check{}, refused("untrusted", "a signature is to be checked, but the device file has no trust.keys")
	}
	signature := t.Saved("signature")
	if signature == nil {
		var err error
		if signature, err = v.c.small(ctx, t, v.Minisign.Signature, maxSignature); err != nil {
			return check{}, err
		}
		if err := t.Save(ctx, "signature", signature); err != nil {
			return check{}, err
		}
	}
	return check{"minisign", trust.Prehash, func(sum []byte) error {
		if _, err := trust.VerifyDigest(sum, signature, v.c.Trust.Keys); err != nil {
			return &engine.Failure{Code: "signature", Err: fmt.Errorf("signature of %s: %w", v.Artifact, err)}
		}
		return nil
	}}, nil
}
