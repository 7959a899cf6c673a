// A module for tests that calls the host services and everything that is
// granted by name, so that the double for unit tests and the real host are
// seen to agree on them.
package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

var _ = updraft.Serve(phases)

var phases = updraft.Phases{Install: install, Commit: commit}

func main() {}

func commit(s *updraft.Step) error {
	for _, role := range []string{"dir", "out"} {
		t, err := s.Target(role, updraft.Write)
		if err != nil {
			return err
		}
		if err := t.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// install checks what it is given; see the grants of the tests.
func install(s *updraft.Step) error {
	if s.FuelLeft() <= 0 {
		return fmt.Errorf("fuel left: %d", s.FuelLeft())
	}
	var slot string
	if err := s.Setting("slot", &slot); err != nil || slot != "b" {
		return fmt.Errorf("setting %q: %w", slot, err)
	}
	if err := s.Setting("none", &slot); !errors.Is(err, abi.ENOENT) {
		return fmt.Errorf("a setting from nowhere: %w", err)
	}
	return errors.Join(archive(s), convert(s), effects(s))
}

// archive reads one file of the tar, then unpacks all of it.
func archive(s *updraft.Step) error {
	tree, err := s.Artifact("tree")
	if err != nil {
		return err
	}
	entry, err := tree.Entry("etc/conf")
	if err != nil {
		return err
	}
	text, err := io.ReadAll(entry)
	if err != nil || string(text) != "conf" {
		return fmt.Errorf("entry %q: %w", text, err)
	}
	if _, err := tree.Entry("none"); !errors.Is(err, abi.ENOENT) {
		return fmt.Errorf("an entry from nowhere: %w", err)
	}
	if err := errors.Join(entry.Close(), tree.Close()); err != nil {
		return err
	}
	if tree, err = s.Artifact("tree"); err != nil {
		return err
	}
	dir, err := s.Target("dir", updraft.Write)
	if err != nil {
		return err
	}
	if n, err := s.Unpack(dir, tree); err != nil || n != 2 {
		return fmt.Errorf("unpacked %d: %w", n, err)
	}
	return nil
}

// convert inflates, then patches what was there to the same target.
func convert(s *updraft.Step) error {
	packed, err := s.Artifact("packed")
	if err != nil {
		return err
	}
	delta, err := s.Artifact("delta")
	if err != nil {
		return err
	}
	old, err := s.Target("old", updraft.Read)
	if err != nil {
		return err
	}
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	if sum, err := s.Hash(old, 0, -1, updraft.MD5); err != nil || sum != "149603e6c03516362a8da23f624db945" {
		return fmt.Errorf("md5 %q: %w", sum, err)
	}
	if err := s.Verify(old, "no signature", "no key"); !errors.Is(err, abi.EBADDATA) {
		return fmt.Errorf("a signature that is none: %w", err)
	}
	if n, err := s.Inflate(out, packed, updraft.Recognise); err != nil || n != 8 {
		return fmt.Errorf("inflated %d: %w", n, err)
	}
	if err := out.Truncate(0); err != nil {
		return err
	}
	if n, err := s.Patch(out, old, delta, updraft.Recognise); err != nil || n == 0 {
		return fmt.Errorf("patched %d: %w", n, err)
	}
	return nil
}

func effects(s *updraft.Step) error {
	answer, err := s.HTTP(abi.Request{URL: "https://example.com/ask"}, []byte("question"))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(answer)
	if err = errors.Join(err, answer.Close()); err != nil || answer.Status != 200 || string(body) != "answer" {
		return fmt.Errorf("http %d %q: %w", answer.Status, body, err)
	}
	back := make([]byte, 4)
	if n, err := s.Serial("mcu", []byte("ping"), back, time.Second); err != nil || string(back[:n]) != "pong" {
		return fmt.Errorf("serial %q: %w", back[:n], err)
	}
	status, output, err := s.Exec("flash", map[string]string{"port": "a \"b\""})
	if err != nil || status != 3 || string(output) != "said a \"b\"" {
		return fmt.Errorf("exec %d %q: %w", status, output, err)
	}
	return s.Reboot("new firmware")
}
