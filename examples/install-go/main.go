// A step that writes an image to the inactive slot of an A/B device.
package main

import updraft "github.com/updraft-ota/updraft/wasm-sdk/go"

var _ = updraft.Serve(updraft.Phases{Install: install, Commit: commit, Rollback: rollback})

func main() {}

// install stages the image. After a power cut it is called again, and Copy
// goes on where the last checkpoint was.
func install(s *updraft.Step) error {
	if mark, _ := s.LastMark(); string(mark) == "copied" {
		return nil
	}
	image, err := s.Artifact("image")
	if err != nil {
		return err
	}
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	if _, err := s.Copy(out, image); err != nil {
		return err
	}
	return s.Mark([]byte("copied"))
}

// commit makes the slot choosable; rollback drops what install staged.
func commit(s *updraft.Step) error   { return finish(s, (*updraft.Target).Commit) }
func rollback(s *updraft.Step) error { return finish(s, (*updraft.Target).Abort) }

func finish(s *updraft.Step, how func(*updraft.Target) error) error {
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	return how(out)
}
