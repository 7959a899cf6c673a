package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

const (
	maxKey      = 64 << 10 // bytes of a key or signature file
	maxPassword = 4 << 10  // bytes
)

func addPassword(c *cobra.Command) *string {
	return c.Flags().String("password-file", "", "`FILE` whose first line is the password of the key (- is standard input)")
}

func addKey(c *cobra.Command) *string {
	key := c.Flags().String("key", "", "secret key `FILE` (required)")
	must(c.MarkFlagFilename("key", "key"))
	return key
}

func isPassword(err error) bool { return errors.Is(err, trust.ErrPassword) }

// newPassword asks twice, so that a slip does not lock a key for ever.
func (p *program) newPassword(ctx context.Context, file string) ([]byte, error) {
	first, err := p.password(ctx, file, "password for the new key: ")
	if err != nil || file != "" {
		return first, err
	}
	again, err := p.password(ctx, file, "the same once more: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, usagef("the two passwords differ, no key was made")
	}
	return first, nil
}

// password reads one from a file, or from the terminal without echo.
func (p *program) password(ctx context.Context, file, prompt string) ([]byte, error) {
	text, err := p.secretLine(ctx, file, prompt)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, usagef("the password is empty: give one, or make the key with --no-password")
	}
	return line, nil
}

func (p *program) secretLine(ctx context.Context, file, prompt string) ([]byte, error) {
	switch file {
	case "":
		tty, ok := p.terminal()
		if !ok {
			return nil, usagef("a password is needed, but standard input is no terminal: use --password-file, or make the key with --no-password")
		}
		return p.askSecret(ctx, tty, prompt)
	case "-":
		text, err := io.ReadAll(io.LimitReader(p.stdin, maxPassword))
		if err != nil {
			return nil, fmt.Errorf("read the password: %w", err)
		}
		return text, nil
	}
	return readSmall(disk.OS(), file, maxPassword)
}

// askSecret asks on the terminal. When ctx ends it gives the terminal its echo
// back and leaves the read behind: the program is about to end, and nothing
// can take a read from a terminal back.
func (p *program) askSecret(ctx context.Context, tty *os.File, prompt string) ([]byte, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask for the password: %w", err)
	}
	fmt.Fprint(p.stderr, prompt)
	text, err := waitFor(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	fmt.Fprintln(p.stderr)
	if ctx.Err() != nil {
		err = errors.Join(err, term.Restore(fd, before))
	}
	return text, err
}

// askYes asks a question on the terminal; only y or yes is a yes.
func (p *program) askYes(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(p.stderr, question+" [y/N] ")
	line, err := waitFor(ctx, func() (string, error) { return bufio.NewReader(p.stdin).ReadString('\n') })
	if errors.Is(err, io.EOF) {
		err = nil
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", err
}

// waitFor waits for read or for the end of ctx.
func waitFor[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		value, err := read()
		got <- answer{value, err}
	}()
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
