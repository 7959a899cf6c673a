package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/disk"
)

// pushedModule is the result of module push and pull.
type pushedModule struct {
	Reference string `json:"reference"` // with the digest
	Digest    string `json:"digest"`    // of the artifact's manifest, with its algorithm
	File      string `json:"file"`
	Name      string `json:"name"`
	Version   string `json:"version"`
	SHA256    string `json:"sha256"` // of the module, hex: what a workflow pins
	Signed    bool   `json:"signed"`
	Key       string `json:"key,omitempty"` // that signed, if it was checked
}

func (p *program) modulePushCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "push MODULE REF",
		Short: "Put a module into a registry or an OCI layout",
		Long: `Put a module, and the signature MODULE.minisig if it lies beside it, into a
registry or a folder, as an artifact of the CNCF's layout for WebAssembly. The
same module with the same signature is the same artifact, with the same digest.

` + referenceHelp,
		Example: "  updraft module push ab-slot.wasm registry.example.com/acme/ab-slot:1.0.0",
		Args:    arguments("MODULE", "REF"),
	}
	c.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt)
	plain := addPlainHTTP(c)
	asJSON := c.Flags().Bool("json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := parseOCIReference(args[1])
		if err != nil {
			return err
		}
		e, err := examine(args[0])
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), ociTime)
		defer cancel()
		pushed, err := e.push(ctx, r, *plain)
		if err != nil {
			return r.ociError(cmd.Context(), err)
		}
		if *asJSON {
			return p.printJSON(pushed)
		}
		return p.printPushed(pushed)
	}
	return c
}

// push writes the blobs first and the tag last.
func (e *examined) push(ctx context.Context, r ociReference, plain bool) (pushedModule, error) {
	signature, err := disk.ReadFile(disk.OS(), e.file+".minisig", maxKey)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pushedModule{}, inputError(err)
	}
	annotations, err := e.annotations(signature)
	if err != nil {
		return pushedModule{}, err
	}
	to, err := r.destination(plain)
	if err != nil {
		return pushedModule{}, err
	}
	layer, err := pushBlob(ctx, to, wasmLayerType, e.wasm)
	if err != nil {
		return pushedModule{}, err
	}
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: e.fileName()}
	config, err := json.Marshal(wasmConfig{Created: undated, Architecture: "wasm", OS: "wasip1", LayerDigests: []string{string(layer.Digest)}})
	if err != nil {
		return pushedModule{}, err
	}
	configured, err := pushBlob(ctx, to, wasmConfigType, config)
	if err != nil {
		return pushedModule{}, err
	}
	made, err := oras.PackManifest(ctx, to, oras.PackManifestVersion1_1, "",
		oras.PackManifestOptions{ConfigDescriptor: &configured, Layers: []ocispec.Descriptor{layer}, ManifestAnnotations: annotations})
	if err != nil {
		return pushedModule{}, err
	}
	if err := to.Tag(ctx, made, r.tag); err != nil {
		return pushedModule{}, err
	}
	return pushedModule{Reference: r.by(string(made.Digest)), Digest: string(made.Digest), File: e.file, Name: e.manifest.Name, Version: e.manifest.Version,
		SHA256: e.sha256, Signed: len(signature) > 0}, nil
}

// fileName is what other tools call the module that they pull.
func (e *examined) fileName() string {
	if projectName.MatchString(e.manifest.Name) {
		return e.manifest.Name + ".wasm"
	}
	return "module.wasm"
}

// annotations are what a registry shows without reading the module.
func (e *examined) annotations(signature []byte) (map[string]string, error) {
	manifest, err := json.Marshal(e.manifest)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		ocispec.AnnotationCreated: undated,
		ocispec.AnnotationTitle:   e.manifest.Name,
		ocispec.AnnotationVersion: e.manifest.Version,
		annotationManifest:        string(manifest),
	}
	if len(signature) > 0 {
		all[annotationSignature] = string(signature)
	}
	return all, nil
}

func pushBlob(ctx context.Context, to oras.Target, mediaType string, data []byte) (ocispec.Descriptor, error) {
	d := content.NewDescriptorFromBytes(mediaType, data)
	have, err := to.Exists(ctx, d)
	if err != nil || have {
		return d, err
	}
	return d, to.Push(ctx, d, bytes.NewReader(data))
}

func (p *program) printPushed(m pushedModule) error {
	signed := "not signed"
	switch {
	case m.Key != "":
		signed = "good signature by key " + m.Key
	case m.Signed:
		signed = "with a signature that was not checked"
	}
	err := p.print("%s: %s %s, %s", agent.Printable(m.File), agent.Printable(m.Name), m.Version, signed)
	return errors.Join(err, p.print("  artifact  %s", agent.Printable(m.Reference)), p.print("  module    sha256:%s", m.SHA256))
}
