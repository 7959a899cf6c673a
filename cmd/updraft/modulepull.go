package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/content"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// pulling is what module pull is to do.
type pulling struct {
	from  ociReference
	out   string
	plain bool
	keys  []string
}

func (p *program) modulePullCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "pull REF",
		Short: "Get a module from a registry or an OCI layout",
		Long: `Get a module, and its signature if it has one, which is written beside it as
FILE.minisig in place of what was there. Sizes and digests are checked always, the signature with --key: a
module that none of the keys signed exits 3 and is not written. A tag can be
moved; the digests that are printed cannot: pull by the artifact's, and pin the
module's in the workflow, module: FILE@sha256:DIGEST.

` + referenceHelp,
		Example: "  updraft module pull registry.example.com/acme/ab-slot:1.0.0 -o ab-slot.wasm --key vendor.pub",
		Args:    arguments("REF"),
	}
	c.ValidArgsFunction = cobra.NoFileCompletions
	out := c.Flags().StringP("output", "o", "", "`FILE` to write (required)")
	must(c.MarkFlagFilename("output", "wasm"))
	keys := addPublicKeys(c, "public key `FILE` that must have signed it, repeatable")
	plain := addPlainHTTP(c)
	asJSON := c.Flags().Bool("json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "output"); err != nil {
			return err
		}
		r, err := parseOCIReference(args[0])
		if err != nil {
			return err
		}
		pulled, err := pull(cmd.Context(), pulling{from: r, out: *out, plain: *plain, keys: *keys})
		if err != nil {
			return r.ociError(cmd.Context(), err)
		}
		if *asJSON {
			return p.printJSON(pulled)
		}
		return p.printPushed(pulled)
	}
	return c
}

// artifact is what a pull fetched and checked.
type artifact struct {
	digest    string // of its manifest
	wasm      []byte
	signature []byte // nil for none
}

func pull(ctx context.Context, w pulling) (pushedModule, error) {
	keys, err := openPublic(w.keys)
	if err != nil {
		return pushedModule{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, ociTime)
	defer cancel()
	from, err := w.from.source(ctx, w.plain)
	if err != nil {
		return pushedModule{}, err
	}
	a, err := fetchArtifact(ctx, from, w.from.tag)
	if err != nil {
		return pushedModule{}, err
	}
	m, err := abi.ReadManifest(a.wasm)
	if err != nil {
		return pushedModule{}, usagef("%s: %w", w.from.text, err)
	}
	sum := content.NewDescriptorFromBytes(wasmLayerType, a.wasm).Digest
	done := pushedModule{Reference: w.from.by(a.digest), Digest: a.digest, File: w.out, Name: m.Name, Version: m.Version, SHA256: sum.Encoded(), Signed: a.signature != nil}
	if len(keys) > 0 {
		if a.signature == nil {
			return done, fmt.Errorf("%w: %s is not signed", trust.ErrUntrusted, w.from.text)
		}
		checked, err := trust.Verify(bytes.NewReader(a.wasm), a.signature, keys)
		if err != nil {
			return done, fmt.Errorf("verify %s: %w", w.from.text, err)
		}
		done.Key = checked.Key.ID()
	}
	return done, a.write(w.out)
}

// fetchArtifact reads an artifact and holds it to the layout.
func fetchArtifact(ctx context.Context, from ociSource, tag string) (*artifact, error) {
	found, err := from.Resolve(ctx, tag)
	if err != nil {
		return nil, err
	}
	text, err := fetchOCI(ctx, from, found, maxOCIManifest, "the artifact's manifest")
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, usagef("the artifact's manifest is not JSON: %w", err)
	}
	if m.Config.MediaType != wasmConfigType {
		return nil, usagef("the artifact is of type %q, expected a WebAssembly artifact, %q", agent.Printable(m.Config.MediaType), wasmConfigType)
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != wasmLayerType {
		return nil, usagef("the artifact has %d layers, expected one of type %s", len(m.Layers), wasmLayerType)
	}
	if err := checkConfig(ctx, from, m); err != nil {
		return nil, err
	}
	a := &artifact{digest: string(found.Digest)}
	if a.wasm, err = fetchOCI(ctx, from, m.Layers[0], maxModule, "the module"); err != nil {
		return nil, err
	}
	if text, ok := m.Annotations[annotationSignature]; ok && len(text) <= maxKey {
		a.signature = []byte(text)
	}
	return a, nil
}

func checkConfig(ctx context.Context, from ociSource, m ocispec.Manifest) error {
	text, err := fetchOCI(ctx, from, m.Config, maxOCIConfig, "the artifact's configuration")
	if err != nil {
		return err
	}
	var c struct {
		OS           string   `json:"os"`
		LayerDigests []string `json:"layerDigests"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return usagef("the artifact's configuration is not JSON: %w", err)
	}
	switch {
	case c.OS != "wasip1":
		return usagef("the artifact is for %q, expected a core module for wasip1", agent.Printable(c.OS))
	case len(c.LayerDigests) != 1 || c.LayerDigests[0] != string(m.Layers[0].Digest):
		return fmt.Errorf("%w: the artifact's configuration lists other layers than its manifest", trust.ErrUntrusted)
	}
	return nil
}

// write puts the module and its signature where the user wants them.
func (a *artifact) write(name string) error {
	if err := disk.WriteFile(disk.OS(), name, a.wasm, 0o644); err != nil {
		return inputError(err)
	}
	if a.signature == nil {
		if err := os.Remove(name + ".minisig"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // one of another module would lie beside it
		}
		return nil
	}
	return disk.WriteFile(disk.OS(), name+".minisig", a.signature, 0o644)
}
