package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
)

func (p *program) moduleSignCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sign MODULE",
		Short: "Sign a module",
		Long: `Write MODULE.minisig, a signature in the format of the minisign program. One that
exists is replaced. What is signed together with the module names it and its
version. A file that is no module of this contract is not signed.`,
		Example: "  updraft module sign ab-slot.wasm --key vendor.key",
		Args:    arguments("MODULE"),
	}
	c.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt)
	key, password := addKey(c), addPassword(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "key"); err != nil {
			return err
		}
		e, err := examine(args[0])
		if err != nil {
			return err
		}
		secret, err := p.openKey(cmd.Context(), *key, *password)
		if err != nil {
			return err
		}
		comment := fmt.Sprintf("timestamp:%d\tfile:%s\tmodule:%s\tversion:%s\thashed", time.Now().Unix(),
			agent.Printable(filepath.Base(args[0])), agent.Printable(e.manifest.Name), e.manifest.Version)
		if err := signFile(cmd.Context(), args[0], secret, comment); err != nil {
			return err
		}
		return p.print("%s.minisig: %s %s signed with key %s", agent.Printable(args[0]), agent.Printable(e.manifest.Name), e.manifest.Version, secret.ID())
	}
	return c
}

// checkedModule is the result of module verify.
type checkedModule struct {
	checkedFile
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"` // hex
}

func (p *program) moduleVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify MODULE",
		Short: "Check the signature of a module",
		Long: `Check that one of the keys signed MODULE. The signature is MODULE.minisig. Any byte
that was changed, in the module or in its signature, exits 3. The digest that is
printed is what a workflow pins: module: FILE@sha256:DIGEST.`,
		Example: "  updraft module verify ab-slot.wasm --key vendor.pub",
		Args:    arguments("MODULE"),
	}
	c.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt)
	keys := addPublicKeys(c, "public key `FILE`, repeatable (required)")
	signature := c.Flags().String("signature", "", "signature `FILE` (default MODULE.minisig)")
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
		e, err := examine(args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(checkedModule{checkedFile{args[0], checked.Key.ID(), checked.TrustedComment}, e.manifest.Name, e.manifest.Version, e.sha256})
		}
		return p.print("%s: %s %s, good signature by key %s, sha256 %s", agent.Printable(args[0]), agent.Printable(e.manifest.Name), e.manifest.Version,
			checked.Key.ID(), e.sha256)
	}
	return c
}
