package stages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

const maxSignature = 16 << 10 // bytes of a .minisig file

// pin says which manifest the run began with.
type pin struct {
	Manifest  string `json:"manifest"`            // SHA-256
	Signature []byte `json:"signature,omitempty"` // the file; empty: there was none
}

// release gives the release manifest, checked. The first one that was right is
// kept until the run ends, so that a server that changes cannot mix two.
func (f *Fetch) release(ctx context.Context, t *engine.Task) (*trust.Release, error) {
	var was *pin
	if saved := t.Saved("manifest"); saved != nil {
		was = new(pin)
		if err := json.Unmarshal(saved, was); err != nil {
			return nil, fmt.Errorf("%w: pinned manifest: %w", engine.ErrStore, err)
		}
	}
	manifest, signature, err := f.manifest(ctx, t, was)
	if err != nil {
		return nil, err
	}
	policy := f.c.Trust
	policy.Floor = max(policy.Floor, t.Floor())
	rel, err := trust.Open(manifest, signature, policy)
	switch {
	case errors.Is(err, trust.ErrDowngrade):
		return nil, refused("downgrade", "%w", err)
	case errors.Is(err, trust.ErrManifest):
		return nil, refused("manifest", "%s: %w", trust.Redact(f.Manifest), err)
	case err != nil:
		return nil, refused("untrusted", "%s: %w", trust.Redact(f.Manifest), err)
	}
	if was != nil || t.Planning() {
		return rel, nil
	}
	return rel, f.pin(ctx, t, manifest, signature)
}

// manifest reads the pinned one from the workspace if it is still whole, and
// else from its address.
func (f *Fetch) manifest(ctx context.Context, t *engine.Task, was *pin) (manifest, signature []byte, err error) {
	if was != nil {
		name, err := workFile(t, "release.json")
		if err != nil {
			return nil, nil, err
		}
		manifest, err := disk.ReadFile(t.Files(), name, trust.MaxManifest)
		if err == nil && digestOf(manifest) == was.Manifest {
			return manifest, was.Signature, nil
		}
	}
	if manifest, err = f.c.small(ctx, t, f.Manifest, trust.MaxManifest); err != nil {
		return nil, nil, err
	}
	if was != nil {
		if digestOf(manifest) != was.Manifest {
			return nil, nil, &engine.Failure{Code: "manifest_changed", Err: fmt.Errorf("the copy of %s is damaged, and the server has another one now", trust.Redact(f.Manifest))}
		}
		return manifest, was.Signature, nil
	}
	beside, err := signatureAddress(f.Manifest)
	if err != nil {
		return nil, nil, err
	}
	signature, err = f.c.small(ctx, t, beside, maxSignature)
	if missing(err) {
		return manifest, nil, nil // whether there must be one is for trust to say
	}
	return manifest, signature, err
}

// pin keeps the manifest: the file first, then what proves it.
func (f *Fetch) pin(ctx context.Context, t *engine.Task, manifest, signature []byte) error {
	name, err := workFile(t, "release.json")
	if err != nil {
		return err
	}
	if err := disk.WriteFile(t.Files(), name, manifest, 0o600); err != nil {
		return fmt.Errorf("keep manifest: %w", err)
	}
	data, err := json.Marshal(pin{digestOf(manifest), signature})
	if err != nil {
		return fmt.Errorf("keep manifest: %w", err)
	}
	return t.Save(ctx, "manifest", data)
}

func workFile(t *engine.Task, name string) (string, error) {
	dir, err := t.Workspace()
	if err != nil {
		return "", err
	}
	return path.Join(dir, name), nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// signatureAddress puts .minisig behind the path of an address and leaves its
// query alone.
func signatureAddress(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || len(u.Scheme) < 2 {
		return address + ".minisig", nil
	}
	if u.Opaque != "" || u.Path == "" {
		return "", &engine.Failure{Code: "address", Err: fmt.Errorf("address %q has no path", trust.Redact(address))}
	}
	u.Path += ".minisig"
	if u.RawPath != "" {
		u.RawPath += ".minisig"
	}
	return u.String(), nil
}

// small reads all that is at an address, at most limit bytes.
func (c *Config) small(ctx context.Context, t *engine.Task, address string, limit int64) ([]byte, error) {
	if name, local := localPath(address); local {
		data, err := disk.ReadFile(c.Disk, name, limit)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &engine.Failure{Code: "not_found", Err: err}
		}
		return data, err
	}
	got, err := c.get(ctx, t.Clock(), ask{address: address})
	if err != nil {
		return nil, err
	}
	data, err := readSmall(got, limit)
	return data, errors.Join(err, got.Close())
}

func readSmall(got *answer, limit int64) ([]byte, error) {
	tooLarge := &engine.Failure{Code: "size", Err: fmt.Errorf("%s has more than %d bytes", got.where, limit)}
	if got.total > limit {
		return nil, tooLarge
	}
	data, err := io.ReadAll(io.LimitReader(got, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = tooLarge
	}
	return data, err
}
