package updraft_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

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

// everything uses each method once, so that the double and the module agree on them.
func everything(s *updraft.Step) error {
	s.Log(abi.LevelInfo, "begin")
	s.Progress(1, 2, "half")
	if _, err := s.Info(); err != nil {
		return err
	}
	if v, ok := s.Fact("model"); !ok || v != "gw" {
		return fmt.Errorf("fact %q %v", v, ok)
	}
	if _, ok := s.Fact("none"); ok {
		return errors.New("a fact from nowhere")
	}
	if list, err := s.Facts(); err != nil || fmt.Sprint(list) != "[model serial]" {
		return fmt.Errorf("facts %v %w", list, err)
	}
	var set struct{ Slot string }
	if err := s.Settings(&set); err != nil || set.Slot != "b" {
		return fmt.Errorf("settings %v %w", set, err)
	}
	if err := errors.Join(state(s), files(s), entries(s)); err != nil {
		return err
	}
	before := s.Mono()
	if err := s.Sleep(time.Second); err != nil || s.Mono()-before != time.Second || s.Now().Unix() != 1001 {
		return fmt.Errorf("slept %v, now %v", s.Mono()-before, s.Now())
	}
	if err := s.Random(make([]byte, 8)); err != nil {
		return err
	}
	return s.Result(abi.Result{Code: 7, Reboot: "required"})
}

func state(s *updraft.Step) error {
	long := bytes.Repeat([]byte("v"), 1000)
	if err := errors.Join(s.Put("b", long), s.Put("a", nil), s.Put("c", nil), s.Delete("c"), s.Flush(), s.Mark([]byte("m1"))); err != nil {
		return err
	}
	v, ok := s.Get("b")
	_, none := s.Get("c")
	keys, err := s.Keys()
	mark, marked := s.LastMark()
	if !ok || none || !bytes.Equal(v, long) || err != nil || fmt.Sprint(keys) != "[a b]" || !marked || string(mark) != "m1" {
		return fmt.Errorf("keys %v, value of %d, mark %q, %w", keys, len(v), mark, err)
	}
	return nil
}

func files(s *updraft.Step) error {
	a, err := s.Artifact("image")
	if err != nil {
		return err
	}
	all, err := io.ReadAll(a)
	if size, err := a.Size(); err != nil || size != int64(len(all)) {
		return fmt.Errorf("size %d %w", size, err)
	}
	if err != nil || string(all) != "0123456789" {
		return fmt.Errorf("artifact %q %w", all, err)
	}
	if _, err := s.Artifact("none"); !errors.Is(err, abi.ENOENT) {
		return fmt.Errorf("an artifact from nowhere: %w", err)
	}
	out, err := s.Target("out", updraft.Write)
	if err != nil {
		return err
	}
	if n, err := s.CopyRange(out, 2, a, 5, -1); err != nil || n != 5 {
		return fmt.Errorf("copied %d %w", n, err)
	}
	if _, err := out.WriteAt([]byte("ab"), 0); err != nil {
		return err
	}
	if err := errors.Join(out.Truncate(6), out.Sync()); err != nil {
		return err
	}
	back := make([]byte, 8)
	n, err := out.ReadAt(back, 0)
	if size, _ := out.Size(); n != 6 || err != io.EOF || string(back[:n]) != "ab5678" || size != 6 {
		return fmt.Errorf("read back %q of %d: %w", back[:n], size, err)
	}
	return out.Commit()
}

func entries(s *updraft.Step) error {
	dir, err := s.Target("tree", updraft.Write)
	if err != nil {
		return err
	}
	f, err := dir.Entry("bin/tool", 0o755)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte("tool"), 0); err != nil {
		return err
	}
	return errors.Join(f.Close(), dir.Abort())
}

func TestEveryMethodOnTheDouble(t *testing.T) {
	d := updraft.Double{
		Facts: map[string]string{"model": "gw", "serial": "1"}, Settings: `{"slot": "b"}`,
		Artifacts: map[string][]byte{"image": []byte("0123456789")}, Clock: time.Unix(1000, 0),
	}
	class, err := d.Call(updraft.Phases{Install: everything}, abi.Install)
	if class != abi.OK || err != nil {
		t.Fatalf("class %d, error %v", class, err)
	}
	if string(d.Targets["out"]) != "ab5678" || len(d.Staged) != 0 || d.Report.Code != 7 || d.Logged[0] != "1 begin" {
		t.Errorf("targets %q, staged %q, report %+v, log %q", d.Targets, d.Staged, d.Report, d.Logged)
	}
	d.Cancel = true
	class, _ = d.Call(updraft.Phases{Install: func(s *updraft.Step) error {
		a, _ := s.Artifact("image")
		out, _ := s.Target("out", updraft.Write)
		_, err := s.Copy(out, a)
		return err
	}}, abi.Install)
	if class != abi.Cancelled {
		t.Errorf("class %d, want cancelled", class)
	}
}
