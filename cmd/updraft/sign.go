package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

func (p *program) signCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign a file",
		Long: `Write FILE.minisig, a signature in the format of the minisign program. One that
exists is replaced. The trusted comment is signed together with the file.`,
		Example: "  updraft sign module.wasm --key vendor.key",
		Args:    arguments("FILE"),
	}
	key, password := addKey(c), addPassword(c)
	comment := c.Flags().String("comment", "", "trusted comment `TEXT` (default: time and name of the file)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "key"); err != nil {
			return err
		}
		secret, err := p.openKey(cmd.Context(), *key, *password)
		if err != nil {
			return err
		}
		if *comment == "" {
			*comment = fmt.Sprintf("timestamp:%d\tfile:%s\thashed", time.Now().Unix(), agent.Printable(filepath.Base(args[0])))
		}
		if err := signFile(cmd.Context(), args[0], secret, *comment); err != nil {
			return err
		}
		return p.print("%s.minisig: signed with key %s", args[0], secret.ID())
	}
	return c
}

// signFile writes the signature of a file beside it.
func signFile(ctx context.Context, name string, key trust.Secret, comment string) (err error) {
	file, data, err := openFile(disk.OS(), name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	signature, err := trust.Sign(cancelReader{ctx, data}, key, comment, "")
	if err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	return disk.WriteFile(disk.OS(), name+".minisig", signature, 0o644)
}

// checkedFile is the result of verify.
type checkedFile struct {
	File    string `json:"file"`
	Key     string `json:"key"`     // id of the key that signed
	Comment string `json:"comment"` // the trusted one
}

func (p *program) verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check the signature of a file",
		Long: `Check that one of the keys signed FILE. The signature is FILE.minisig, made by
updraft sign or by minisign; its older form without prehash is refused. A
signature that is not good exits 3.`,
		Example: "  updraft verify module.wasm --key vendor.pub",
		Args:    arguments("FILE"),
	}
	keys := addPublicKeys(c, "public key `FILE`, repeatable (required)")
	signature := c.Flags().String("signature", "", "signature `FILE` (default FILE.minisig)")
	must(c.MarkFlagFilename("signature", "minisig"))
	asJSON := c.Flags().Bool("json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "key"); err != nil {
			return err
		}
		if *signature == "" {
			*signature = args[0] + ".minisig"
		}
		checked, err := verifyFile(cmd.Context(), args[0], *signature, *keys)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(checkedFile{args[0], checked.Key.ID(), checked.TrustedComment})
		}
		return p.print("%s: good signature by key %s: %s", args[0], checked.Key.ID(), agent.Printable(checked.TrustedComment))
	}
	return c
}

func addPublicKeys(c *cobra.Command, usage string) *[]string {
	keys := c.Flags().StringArray("key", nil, usage)
	must(c.MarkFlagFilename("key", "pub"))
	return keys
}

func verifyFile(ctx context.Context, name, signatureName string, keyNames []string) (_ trust.Checked, err error) {
	keys, err := openPublic(keyNames)
	if err != nil {
		return trust.Checked{}, err
	}
	signature, err := readSmall(disk.OS(), signatureName, maxKey)
	if err != nil {
		return trust.Checked{}, err
	}
	file, data, err := openFile(disk.OS(), name)
	if err != nil {
		return trust.Checked{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	checked, err := trust.Verify(cancelReader{ctx, data}, signature, keys)
	if err != nil {
		return trust.Checked{}, fmt.Errorf("verify %s: %w", name, err)
	}
	return checked, nil
}

// needs demands flags that have no default.
func needs(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if f := c.Flags().Lookup(name); !f.Changed {
			value, _ := pflag.UnquoteUsage(f)
			return usagef("--%s %s is missing", name, value)
		}
	}
	return nil
}
