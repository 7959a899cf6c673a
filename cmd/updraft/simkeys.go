package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/control/adu/manifest"
)

const (
	simKeysFile = "adu-keys.pem" // in the folder of the simulator
	simKeyBits  = 3072           // as the service's own
)

func (p *program) simKeysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Print the root keys that devices are to trust",
		Long: `Print the root keys of the simulator, as a root key package, and make them at
the first time. An agent trusts them instead of the service's if its plane's settings
name a file with them; no device in the field should.`,
		Example:           "  updraft sim adu keys > rootkeys.json",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	state := c.Flags().String("state", simFolder, "`DIR` of the simulator")
	must(c.MarkFlagDirname("state"))
	c.RunE = func(*cobra.Command, []string) error {
		signer, err := simSigner(*state)
		if err != nil {
			return err
		}
		roots, err := signer.RootKeys(manifest.Package{Version: 1})
		if err != nil {
			return err
		}
		return p.print("%s", roots)
	}
	return c
}

// simSigner is the signer of a simulator, whose keys are made if there are none.
func simSigner(state string) (manifest.Signer, error) {
	signer := manifest.Signer{RootKid: "SIM.R", Kid: "SIM.S"}
	if state == "" {
		return signer, usagef("--state '' has no place for the keys that sign")
	}
	name := filepath.Join(state, simKeysFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKeys(name)
	}
	if err != nil {
		return signer, usagef("--state: %w", err)
	}
	for _, key := range []**rsa.PrivateKey{&signer.Root, &signer.Key} {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return signer, usagef("%s: expected two RSA keys; remove it to have new ones", quoted(name))
		}
		if *key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return signer, usagef("%s: %w; remove it to have new ones", quoted(name), err)
		}
	}
	return signer, nil
}

func makeKeys(name string) (text []byte, err error) {
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, simKeyBits)
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	return text, os.WriteFile(name, text, 0o600)
}
