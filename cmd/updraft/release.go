package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

// manifestName is the manifest in the folder of a release; its signature has
// signatureSuffix behind the name.
const (
	manifestName    = "release.json"
	signatureSuffix = ".minisig"
)

func (p *program) releaseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "release",
		Short: "Make, sign and show releases",
		Example: `  updraft release new --name gateway --version 1.1 --artifact image=v11.img --delta-from image=v10.img --out dist
  updraft release sign dist --key release.key
  updraft release show dist --key release.pub`,
	}
	c.AddCommand(p.releaseNewCommand(), p.releaseSignCommand(), p.releaseShowCommand())
	return c
}

func (p *program) releaseSignCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sign DIR",
		Short: "Sign the manifest of a release",
		Long: `Write DIR/release.json.minisig. The manifest is checked first; its digests cover
the artifacts and deltas, so nothing else needs a signature.`,
		Example: "  updraft release sign dist --key release.key",
		Args:    arguments("DIR"),
	}
	key, password := addKey(c), addPassword(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "key"); err != nil {
			return err
		}
		file := filepath.Join(args[0], manifestName)
		text, err := readSmall(disk.OS(), file, trust.MaxManifest)
		if err != nil {
			return err
		}
		r, err := trust.ParseRelease(file, text)
		if err != nil {
			return err
		}
		secret, err := p.openKey(cmd.Context(), *key, *password)
		if err != nil {
			return err
		}
		comment := fmt.Sprintf("timestamp:%d\trelease:%s %s\thashed", time.Now().Unix(), r.Name, r.Version)
		if err := signFile(cmd.Context(), file, secret, comment); err != nil {
			return err
		}
		return p.print("%s%s: release %s %s signed with key %s", file, signatureSuffix, r.Name, r.Version, secret.ID())
	}
	return c
}

// shown is the result of release show.
type shown struct {
	Release   *trust.Release `json:"release"`
	Signature string         `json:"signature"` // good, or not checked
	Key       string         `json:"key,omitempty"`
}

func (p *program) releaseShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show DIR|FILE|URL",
		Short: "Show what a release holds",
		Long: `Show the manifest of a release: of a folder, a file or an http(s) address. With
--key its signature is checked first, and one that is not good exits 3; without,
nothing proves who made the release.`,
		Example: "  updraft release show dist --key release.pub",
		Args:    arguments("DIR|FILE|URL"),
	}
	keys := addPublicKeys(c, "public key `FILE` that the signature is checked with, repeatable")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := show(cmd.Context(), args[0], *keys)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(s)
		}
		return p.printRelease(s)
	}
	return c
}

func show(ctx context.Context, place string, keyNames []string) (shown, error) {
	keys, err := openPublic(keyNames)
	if err != nil {
		return shown{}, err
	}
	get, place, err := locate(place)
	if err != nil {
		return shown{}, err
	}
	manifest, err := get(ctx, place, trust.MaxManifest)
	if err != nil {
		return shown{}, err
	}
	if len(keys) == 0 {
		r, err := trust.ParseRelease(trust.Redact(place), manifest)
		return shown{Release: r, Signature: "not checked"}, err
	}
	signature, err := get(ctx, signatureOf(place), maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w: it has no signature", trust.Redact(place), trust.ErrUntrusted)
	}
	if err != nil {
		return shown{}, err
	}
	r, err := trust.Open(manifest, signature, trust.Policy{Keys: keys})
	if err != nil {
		return shown{}, fmt.Errorf("%s: %w", trust.Redact(place), err)
	}
	checked, err := trust.Verify(strings.NewReader(string(manifest)), signature, keys)
	return shown{Release: r, Signature: "good", Key: checked.Key.ID()}, err
}

// locate gives the address of a manifest and what reads such addresses.
func locate(place string) (func(ctx context.Context, name string, limit int64) ([]byte, error), string, error) {
	if strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://") {
		return download, place, nil
	}
	info, err := os.Stat(place)
	if err != nil {
		return nil, "", inputError(err)
	}
	if info.IsDir() {
		place = filepath.Join(place, manifestName)
	}
	return func(_ context.Context, name string, limit int64) ([]byte, error) {
		return readSmall(disk.OS(), name, limit)
	}, place, nil
}

// signatureOf puts the suffix behind the path of an address, before its query.
func signatureOf(place string) string {
	path, query, found := strings.Cut(place, "?")
	if !found || !strings.HasPrefix(place, "http") {
		return place + signatureSuffix
	}
	return path + signatureSuffix + "?" + query
}

func (p *program) printRelease(s shown) error {
	state := "signature not checked: nothing proves who made this (use --key)"
	if s.Key != "" {
		state = "good signature by key " + s.Key
	}
	r := s.Release
	if err := p.print("release %s %s, security version %d\n%s\n", r.Name, r.Version, r.SecurityVersion, state); err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ARTIFACT\tFORM\tSIZE\tSHA256\tADDRESS")
	for _, a := range r.Artifacts {
		fmt.Fprintf(w, "%s\tfull\t%s\t%s\t%s\n", a.Name, agent.ByteCount(a.Size), a.SHA256, trust.Redact(a.URL))
		for _, d := range a.Deltas {
			fmt.Fprintf(w, "%s\t%s from %.12s\t%s\t%s\t%s\n", a.Name, d.Format, d.BaseSHA256, agent.ByteCount(d.Size), d.SHA256, trust.Redact(d.URL))
		}
	}
	return w.Flush()
}
