package stages

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// Fetch gives an artifact of a release, or the bytes at a URL.
//
// With a manifest, the signature comes first: the release manifest and the file
// of the same name with .minisig behind it are fetched, checked and kept, before
// anything else is asked for. Then a delta is fetched if one starts from what the
// device runs and fits into memory, and the full image otherwise. Bodies go on
// where they were cut off.
//
// Addresses are http, https and file URLs, or plain paths. An agent that has a
// cloud which sends files over its own connection fetches these too, by URL alone.
type Fetch struct {
	// Manifest is the address of the release manifest. Addresses in it are
	// relative to this one, also if the server redirects it.
	Manifest string `yaml:"manifest"`
	// Artifact is the name of the artifact in the release.
	Artifact string `yaml:"artifact"`
	// Base is what the device has already, for deltas: a target such as
	// rootfs@active, or a file in a directory such as app@active/bin/server.
	// Without it the full image is fetched.
	Base string `yaml:"base,target"`
	// URL is the address of an artifact that belongs to no release. The
	// trust of the device file says what must stand beside it: nothing may be
	// missing under sha256 but md5, and under signature a manifest is needed.
	URL string `yaml:"url"`
	// Size is the artifact's size, such as 1048576. One byte more or less is an error.
	Size int64 `yaml:"size,size"`
	// SHA256 is the artifact's SHA-256 in lower-case hex.
	SHA256 string `yaml:"sha256"`
	// MD5 is the artifact's MD5 in lower-case hex. It is compared, against
	// damage, but proves nothing.
	MD5 string `yaml:"md5"`

	c *Config
}

var _ engine.Filter = (*Fetch)(nil)

// Check reports what is wrong with the fields before a run.
func (f *Fetch) Check(report func(field, text string)) {
	switch {
	case f.Manifest == "" && f.URL == "":
		report("", "needs manifest, or else url")
	case f.Manifest != "" && f.URL != "":
		report("url", "manifest is given too, want one of them")
	case f.Manifest != "" && f.Artifact == "":
		report("", "needs artifact, the name of one in the release")
	case f.Manifest == "" && f.Artifact != "":
		report("artifact", "names an artifact of a release, but there is no manifest")
	}
	if f.Manifest == "" && f.Base != "" {
		report("base", "needs a manifest: only a release lists deltas")
	}
	if f.Manifest != "" && (f.Size != 0 || f.SHA256 != "" || f.MD5 != "") {
		report("", "size, sha256 and md5 stand in the manifest, give them with url alone")
	}
	f.checkSchemes(report)
	if f.Size < 0 {
		report("size", fmt.Sprintf("is %d, want a number of bytes", f.Size))
	}
	if f.SHA256 != "" {
		if _, err := trust.ParseSHA256(f.SHA256); err != nil {
			report("sha256", err.Error())
		}
	}
	if f.MD5 != "" && !isHex(f.MD5, 16) {
		report("md5", "want 32 lower-case hex digits")
	}
}

func isHex(s string, bytes int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == bytes && hex.EncodeToString(b) == s
}

// checkFields turns what Check reports into the error of a run, for fields
// that came out of expressions.
func checkFields(verb interface {
	Check(report func(field, text string))
}) error {
	var all []error
	verb.Check(func(field, text string) { all = append(all, errors.New(cmp.Or(field, "fields")+": "+text)) })
	if len(all) == 0 {
		return nil
	}
	return &engine.Failure{Code: "usage", Err: errors.Join(all...)}
}

func refused(code, format string, args ...any) error {
	return &engine.Refused{Code: code, Err: fmt.Errorf(format, args...)}
}

// Filter checks the release and chooses where the bytes come from.
func (f *Fetch) Filter(ctx context.Context, t *engine.Task, _ []engine.Source) (engine.Source, error) {
	if err := checkFields(f); err != nil {
		return nil, err
	}
	if f.Manifest == "" {
		return f.plain(t)
	}
	rel, err := f.release(ctx, t)
	if err != nil {
		return nil, err
	}
	art, err := rel.Artifact(f.Artifact)
	if err != nil {
		return nil, refused("unknown_artifact", "%w", err)
	}
	t.SetRelease(map[string]any{"name": rel.Name, "version": rel.Version, "securityVersion": rel.SecurityVersion})
	t.SetOutput("version", rel.Version)
	t.SetOutput("size", art.Size)
	t.SetOutput("sha256", art.SHA256)
	src, err := f.choose(ctx, t, art)
	if err != nil {
		return nil, err
	}
	_, isDelta := src.(*patched)
	t.SetOutput("delta", isDelta)
	return src, nil
}

// plain is an artifact without a release, as far as the device trusts one.
func (f *Fetch) plain(t *engine.Task) (engine.Source, error) {
	require, where := f.c.Trust.Require, f.c.shown(f.URL)
	switch {
	case require == trust.None:
	case require != trust.SHA256:
		return nil, refused("untrusted", "%s: a URL alone proves nothing, and the device file wants trust.require: %v: give a signed manifest", where, require)
	case f.SHA256 == "" || f.Size == 0:
		return nil, refused("untrusted", "%s: the device file wants trust.require: %v: give size and sha256", where, require)
	}
	t.SetOutput("version", "")
	t.SetOutput("size", f.Size)
	t.SetOutput("sha256", f.SHA256)
	t.SetOutput("delta", false)
	return f.c.source(t, f.URL, cmp.Or(f.Size, -1), f.SHA256, f.MD5), nil
}

// source is an artifact at an address, checked as far as its digests are known.
func (c *Config) source(t *engine.Task, address string, size int64, sha256, md5 string) engine.Source {
	var checks []check
	if sha256 != "" {
		checks = append(checks, sha256Check(sha256))
	}
	if md5 != "" {
		checks = append(checks, md5Check(md5))
	}
	from := &origin{c: c, t: t, address: address, size: size, judged: len(checks) > 0}
	if len(checks) == 0 {
		return from
	}
	return &checked{in: from, digest: sha256, checks: checks}
}
