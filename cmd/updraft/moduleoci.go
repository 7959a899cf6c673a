package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/trust"
)

// What an artifact of a module is made of, after the Wasm OCI artifact layout
// of the CNCF: https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/
const (
	wasmConfigType = "application/vnd.wasm.config.v0+json"
	wasmLayerType  = "application/wasm"

	// The layout wants one layer, so that the rest is in annotations.
	annotationManifest  = "io.github.updraft-ota.module.manifest"  // updraft.json
	annotationSignature = "io.github.updraft-ota.module.signature" // text of the .minisig file

	// undated stands for every time, so that the same module is the same artifact.
	undated = "1970-01-01T00:00:00Z"
)

// wasmConfig is the configuration of an artifact.
type wasmConfig struct {
	Created      string   `json:"created"`
	Author       *string  `json:"author"`
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	LayerDigests []string `json:"layerDigests"`
	Component    *string  `json:"component"` // null for a core module
}

// Limits of what is fetched, in bytes. A module has its own.
const (
	maxOCIManifest = 4 << 20
	maxOCIConfig   = 1 << 20
)

// ociTime is how long a push or pull may take.
const ociTime = 10 * time.Minute

const referenceHelp = `REF is a place in a registry, such as registry.example.com/acme/ab-slot:1.0.0, or
a folder in the OCI layout, oci-layout:DIR:TAG or a path such as ./DIR:TAG. In
place of the tag, a pull takes @sha256:DIGEST. The credentials are those of
docker login. Plain HTTP is for a registry on this machine.`

// ociReference is a place for artifacts.
type ociReference struct {
	text   string // as it was given
	dir    string // of a layout, "" for a registry
	remote registry.Reference
	tag    string // or a digest with its algorithm
}

func parseOCIReference(text string) (ociReference, error) {
	r := ociReference{text: text}
	place, layout := strings.CutPrefix(text, "oci-layout:")
	if !layout && !filepath.IsAbs(text) && !strings.HasPrefix(text, "./") && !strings.HasPrefix(text, "../") {
		var err error
		if r.remote, err = registry.ParseReference(text); err != nil {
			return r, usagef("reference %q: expected HOST/NAME:TAG, or oci-layout:DIR:TAG: %w", text, err)
		}
		r.tag = r.remote.Reference
		return r, nil
	}
	if dir, digest, ok := strings.Cut(place, "@"); ok {
		if _, err := trust.ParseSHA256(strings.TrimPrefix(digest, "sha256:")); err != nil || !strings.HasPrefix(digest, "sha256:") {
			return r, usagef("reference %q: expected sha256: and 64 hex digits after the @", text)
		}
		r.dir, r.tag = dir, digest
	} else if i := strings.LastIndexByte(place, ':'); i > strings.LastIndexByte(place, '/') {
		r.dir, r.tag = place[:i], place[i+1:]
	} else {
		r.dir = place
	}
	if r.dir == "" {
		return r, usagef("reference %q: expected oci-layout:DIR:TAG", text)
	}
	return r, nil
}

// pinned reports whether the reference names one artifact by its digest.
func (r ociReference) pinned() bool { return strings.HasPrefix(r.tag, "sha256:") }

// by gives the reference with a digest in place of the tag.
func (r ociReference) by(digest string) string {
	if r.dir != "" {
		return "oci-layout:" + r.dir + "@" + digest
	}
	return r.remote.Registry + "/" + r.remote.Repository + "@" + digest
}

func addPlainHTTP(c *cobra.Command) *bool {
	return c.Flags().Bool("plain-http", false, "without TLS, for a registry on this machine")
}

// repository opens the reference's place in a registry.
func (r ociReference) repository(plain bool) (*remote.Repository, error) {
	if plain && !loopback(r.remote.Host()) {
		return nil, usagef("--plain-http: %s is not this machine; expected localhost or an address such as 127.0.0.1", r.remote.Registry)
	}
	repository, err := remote.NewRepository(r.remote.Registry + "/" + r.remote.Repository)
	if err != nil {
		return nil, usagef("reference %q: %w", r.text, err)
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, usagef("credentials of docker login: %w", err)
	}
	client := &auth.Client{Client: retry.DefaultClient, Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	client.SetUserAgent("updraft")
	repository.PlainHTTP, repository.Client = plain, client
	return repository, nil
}

func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// destination opens the place for writing.
func (r ociReference) destination(plain bool) (oras.Target, error) {
	switch {
	case r.tag == "" || r.pinned():
		return nil, usagef("reference %q: expected a tag to push to, such as :1.0.0", r.text)
	case r.dir == "":
		return r.repository(plain)
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, inputError(err)
	}
	if _, err := os.Stat(filepath.Join(r.dir, ocispec.ImageLayoutFile)); err != nil && len(entries) > 0 {
		return nil, usagef("folder %s has other files in it and is no OCI layout", r.dir)
	}
	store, err := oci.New(r.dir)
	if err != nil {
		return nil, usagef("OCI layout %s: %w", r.dir, err)
	}
	return store, nil
}

// ociSource is where artifacts are read.
type ociSource interface {
	content.Resolver
	content.Fetcher
}

// source opens the place for reading.
func (r ociReference) source(ctx context.Context, plain bool) (ociSource, error) {
	switch {
	case r.tag == "":
		return nil, usagef("reference %q: expected a tag or a digest, such as :1.0.0", r.text)
	case r.dir == "":
		return r.repository(plain)
	}
	if _, err := os.Stat(filepath.Join(r.dir, ocispec.ImageLayoutFile)); err != nil {
		return nil, usagef("%s is no OCI layout: %w", r.dir, err)
	}
	store, err := oci.NewFromFS(ctx, smallFiles{os.DirFS(r.dir)})
	if err != nil {
		return nil, usagef("OCI layout %s: %w", r.dir, err)
	}
	return store, nil
}

// smallFiles refuses files that are larger than what a module needs, since
// what reads the layout takes whole ones into memory.
type smallFiles struct{ fs.FS }

// Open opens a file that is small enough.
func (s smallFiles) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > maxModule {
		err = &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("%d bytes, at most %d", info.Size(), maxModule)}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// fetchOCI reads one blob of an artifact, whose digest is checked.
func fetchOCI(ctx context.Context, from ociSource, d ocispec.Descriptor, limit int64, what string) ([]byte, error) {
	if d.Size < 0 || d.Size > limit {
		return nil, usagef("%s has %d bytes, at most %d", what, d.Size, limit)
	}
	data, err := content.FetchAll(ctx, from, d)
	if errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrTrailingData) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: %s does not have the digest and size that it is listed with", trust.ErrUntrusted, what)
	}
	return data, err
}

var queries = regexp.MustCompile(`(://[^\s"'?#]*)[?#][^\s"']*`)

// ociError names the place, and drops queries of addresses, which may be
// secrets.
func (r ociReference) ociError(ctx context.Context, err error) error {
	var usage *usageError
	var answer *errcode.ErrorResponse
	var address *url.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil || errors.As(err, &usage) || errors.Is(err, trust.ErrUntrusted):
		return err
	case errors.Is(err, errdef.ErrNotFound):
		return usagef("%s: there is no such artifact", r.text)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return usagef("%s: the registry asks who you are: docker login %s", r.text, r.remote.Registry)
	case errors.As(err, &answer):
		why := ""
		if len(answer.Errors) > 0 {
			why = ": " + queries.ReplaceAllString(agent.Printable(answer.Errors.Error()), "$1")
		}
		return fmt.Errorf("%s: the registry answers %s %s with status %d%s", r.text, answer.Method, trust.Redact(answer.URL.String()), answer.StatusCode, why)
	case errors.As(err, &address):
		return fmt.Errorf("%s: %s %s: %w", r.text, address.Op, trust.Redact(address.URL), address.Err)
	}
	return fmt.Errorf("%s: %s", r.text, queries.ReplaceAllString(agent.Printable(err.Error()), "$1"))
}
