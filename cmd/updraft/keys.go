package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

func (p *program) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "keys",
		Short:   "Make keys that sign releases",
		Example: "  updraft keys new release",
	}
	c.AddCommand(p.keysNewCommand())
	return c
}

func (p *program) keysNewCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Make NAME.key, which signs, and NAME.pub, which devices get",
		Long: `Make a key pair in the formats of the minisign program: NAME.key signs and stays
secret, NAME.pub is named under trust.keys in a device file. The password that
encrypts NAME.key is asked for twice on the terminal, or is the first line of
--password-file. Existing files are never overwritten.`,
		Example:           "  updraft keys new release",
		Args:              arguments("NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	noPassword := c.Flags().Bool("no-password", false, "leave NAME.key readable by everybody who gets the file")
	password := addPassword(c)
	c.MarkFlagsMutuallyExclusive("no-password", "password-file")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		ask := func(ctx context.Context) ([]byte, error) { return p.newPassword(ctx, *password) }
		if *noPassword {
			ask = func(context.Context) ([]byte, error) { return nil, nil }
		}
		return p.keysNew(cmd.Context(), args[0], ask)
	}
	return c
}

func (p *program) keysNew(ctx context.Context, name string, ask func(context.Context) ([]byte, error)) error {
	for _, file := range []string{name + ".key", name + ".pub"} {
		if exists, err := disk.Exists(disk.OS(), file); err != nil {
			return err
		} else if exists {
			return usagef("%s exists already, and a key is never overwritten: choose another name", file)
		}
	}
	password, err := ask(ctx)
	if err != nil {
		return err
	}
	secret, public, err := trust.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	text, err := secret.Encode(password, rand.Reader)
	if err != nil {
		return err
	}
	if err := createNew(disk.OS(), name+".key", text, 0o600); err != nil {
		return err
	}
	if err := createNew(disk.OS(), name+".pub", public.Encode(), 0o644); err != nil {
		return err
	}
	p.say("keep %s.key secret; name %s.pub under trust.keys in the device file", name, name)
	return p.print("key %s: %s.key and %s.pub", public.ID(), name, name)
}

// openKey reads a secret key, and asks for its password if it has one.
func (p *program) openKey(ctx context.Context, file, passwordFile string) (trust.Secret, error) {
	text, err := readSmall(disk.OS(), file, maxKey)
	if err != nil {
		return trust.Secret{}, err
	}
	secret, err := trust.ParseSecret(text, nil)
	if isPassword(err) {
		var password []byte
		if password, err = p.password(ctx, passwordFile, "password of "+file+": "); err != nil {
			return trust.Secret{}, err
		}
		secret, err = trust.ParseSecret(text, password)
	}
	if err != nil {
		if _, public := trust.ParsePublic(text); public == nil {
			return trust.Secret{}, usagef("%s is a public key: signing needs the secret one, NAME.key", file)
		}
		return trust.Secret{}, fmt.Errorf("%s: %w", file, err)
	}
	return secret, nil
}

// openPublic reads public keys.
func openPublic(files []string) ([]trust.Public, error) {
	var keys []trust.Public
	for _, file := range files {
		text, err := readSmall(disk.OS(), file, maxKey)
		if err != nil {
			return nil, err
		}
		key, err := trust.ParsePublic(text)
		if err != nil {
			if _, secret := trust.ParseSecret(text, nil); secret == nil || isPassword(secret) {
				return nil, usagef("%s is a secret key: checking needs the public one, NAME.pub", file)
			}
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
