// A step that writes an image to the inactive slot of an A/B device.
package main

import updraft "github.com/updraft-ota/updraft/wasm-sdk/go"

var _ = updraft.Serve(updraft.Phases{Install: install, Commit: commit, Rollback: rollback})

func main() {}

// install stages the image. After a power cut it is called again, and Copy
// goes on where the last checkpoint was.
func install(s *updraft.Step) error {
	image, err := s.Artifact("image")
	if err != nil {
		return err
	}
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	_, err = s.Copy(out, image)
	return err
}

// commit makes the slot choosable, once every byte of the image was verified.
func commit(s *updraft.Step) error { return finish(s, (*updraft.Target).Commit) }

// rollback drops what install staged.
func rollback(s *updraft.Step) error { return finish(s, (*updraft.Target).Abort) }

func finish(s *updraft.Step, how func(*updraft.Target) error) error {
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	return how(out)
}
