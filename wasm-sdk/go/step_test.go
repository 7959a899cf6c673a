package updraft_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

func Example() {
	phases := updraft.Phases{Install: func(s *updraft.Step) error {
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
	}}
	d := updraft.Double{Artifacts: map[string][]byte{"image": []byte("new system")}}
	class, err := d.Call(phases, abi.Install)
	fmt.Printf("%d %v %s\n", class, err, d.Staged["out"])
	// Output: 0 <nil> new system
}

func TestClasses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		err     error
		want    abi.Class
		details string
	}{
		{"ok", nil, abi.OK, ""},
		{"restart", updraft.ErrRestart, abi.OKRestart, ""},
		{"done", fmt.Errorf("slot b: %w", updraft.ErrAlreadyDone), abi.AlreadyDone, ""},
		{"incompatible", updraft.Incompatible("too old"), abi.Incompatible, "too old"},
		{"retry", fmt.Errorf("motor: %w", updraft.Retry("busy")), abi.RetryLater, "motor: busy"},
		{"cancelled", fmt.Errorf("copy: %w", abi.ECANCELED), abi.Cancelled, "copy: cancelled"},
		{"failed", errors.New("a \"quoted\"\tpath\\ \x00 \xff ä"), abi.Failed, "a \"quoted\"\tpath\\ \x00 ? ä"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d updraft.Double
			class, err := d.Call(updraft.Phases{Health: func(*updraft.Step) error { return tt.err }}, abi.Health)
			if class != tt.want || !errors.Is(err, tt.err) || d.Report.Details != tt.details {
				t.Errorf("class %d, error %v, details %q; want %d, %q", class, err, d.Report.Details, tt.want, tt.details)
			}
		})
	}
	var d updraft.Double
	if class, _ := d.Call(updraft.Phases{}, abi.Commit); class != abi.Failed || len(d.Logged) != 1 {
		t.Errorf("a phase that is not served: class %d, log %q", class, d.Logged)
	}
}

func TestCancelledCopy(t *testing.T) {
	d := updraft.Double{Artifacts: map[string][]byte{"image": []byte("0123456789")}, Cancel: true}
	class, err := d.Call(updraft.Phases{Install: func(s *updraft.Step) error {
		a, err := s.Artifact("image")
		if err != nil {
			return err
		}
		out, err := s.Target("out", updraft.Write)
		if err != nil {
			return err
		}
		_, err = s.Copy(out, a)
		return err
	}}, abi.Install)
	if class != abi.Cancelled {
		t.Errorf("class %d, error %v, want cancelled", class, err)
	}
}
