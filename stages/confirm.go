package stages

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// Confirm makes what the run installed take hold and proves it: the device or
// a program restarts from the new version, the probes are asked until all
// answer, and only then is the version marked good. If that does not
// happen in time, the device goes back to the old version, with a restart of its
// own if need be.
type Confirm struct {
	// Restart is "device", the name of a directory target whose program is
	// restarted, or empty to switch directories without a restart.
	Restart string `yaml:"restart,literal"`
	// Within is how long the new version has to prove itself after it
	// started. The default is 5m.
	Within time.Duration `yaml:"within"`
	// Tries is how often the boot loader may start the new version before it
	// goes back by itself. The default is 3.
	Tries int `yaml:"tries"`
	// Every is the pause between two rounds of probes. The default is 1s.
	Every time.Duration `yaml:"every"`
	// Probes must all hold in one round.
	Probes []Probe `yaml:"probes"`

	c *Config
}

// Probe is one question about the new version: exactly one of fact, file,
// exec and http, and what the answer must be.
type Probe struct {
	// Fact is a fact of the device file.
	Fact string `yaml:"fact,fact"`
	// File is a path on the device whose text, at most 64 KiB, is the answer.
	File string `yaml:"file"`
	// Exec is a command whose output is the answer; it must end with 0.
	Exec []string `yaml:"exec"`
	// HTTP is a URL that must answer 200; its body, at most 64 KiB, is the answer.
	HTTP string `yaml:"http"`
	// Equals is what the answer must be, without space around it.
	Equals string `yaml:"equals"`
	// Contains is what the answer must contain.
	Contains string `yaml:"contains"`
	// Timeout of this probe. The default is 10s.
	Timeout time.Duration `yaml:"timeout"`
}

const maxAnswer = 64 << 10 // bytes

// Check reports what is wrong with the fields before a run.
func (s *Confirm) Check(report func(field, text string)) {
	for i, p := range s.Probes {
		n := 0
		for _, set := range []bool{p.Fact != "", p.File != "", len(p.Exec) > 0, p.HTTP != ""} {
			if set {
				n++
			}
		}
		if n != 1 {
			report(fmt.Sprintf("probes[%d]", i), "want exactly one of fact, file, exec and http")
		}
	}
	if s.Tries < 0 || s.Tries > 10 {
		report("tries", fmt.Sprintf("%d tries, want 1 to 10", s.Tries))
	}
}

// Confirms marks the verb that decides about a trial.
func (s *Confirm) Confirms() {}

// Do restarts, probes and marks good. It returns a wait while the restart has
// not happened.
func (s *Confirm) Do(ctx context.Context, t *engine.Task) error {
	if err := t.Restart(ctx, s.Restart, cmp.Or(s.Tries, 3)); err != nil {
		return err
	}
	if err := s.prove(ctx, t); err != nil {
		return err
	}
	return t.Confirm(ctx)
}

// prove asks the probes until all hold. At least one round is asked, however
// late it is.
func (s *Confirm) prove(ctx context.Context, t *engine.Task) error {
	clock, within := t.Clock(), cmp.Or(s.Within, 5*time.Minute)
	if booted := t.Booted(); !booted.IsZero() {
		// The wall clock may have jumped: it can shorten the time, not lengthen it.
		within -= min(max(clock.Now().Sub(booted), 0), within)
	}
	for end := clock.Mono() + within; ; {
		err := s.round(ctx, t)
		if err == nil {
			return nil
		}
		if err := t.Safe(ctx); err != nil {
			return err
		}
		pause := cmp.Or(s.Every, time.Second)
		if clock.Mono()+pause > end {
			return &engine.Failure{Code: "probe", Err: fmt.Errorf("not proven within %v: %w", cmp.Or(s.Within, 5*time.Minute), err)}
		}
		t.Log(fmt.Sprintf("not proven yet: %v", err))
		if err := clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func (s *Confirm) round(ctx context.Context, t *engine.Task) error {
	for i, p := range s.Probes {
		answer, err := s.ask(ctx, t, p)
		if err == nil {
			err = p.judge(answer)
		}
		if err != nil {
			return fmt.Errorf("probe %d (%s): %w", i+1, p.what(), err)
		}
	}
	return nil
}

func (p Probe) what() string {
	switch {
	case p.Fact != "":
		return "fact " + p.Fact
	case p.File != "":
		return "file " + p.File
	case p.HTTP != "":
		return "http"
	}
	return "exec " + strings.Join(p.Exec[:min(1, len(p.Exec))], "")
}

func (p Probe) judge(answer string) error {
	answer = strings.TrimSpace(answer)
	short := answer
	if len(short) > 80 {
		short = short[:80] + "…"
	}
	if p.Equals != "" && answer != p.Equals {
		return fmt.Errorf("answers %q, want %q", short, p.Equals)
	}
	if p.Contains != "" && !strings.Contains(answer, p.Contains) {
		return fmt.Errorf("answers %q, want something with %q", short, p.Contains)
	}
	return nil
}

func (s *Confirm) ask(ctx context.Context, t *engine.Task, p Probe) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, 10*time.Second))
	defer cancel()
	switch {
	case p.Fact != "":
		facts, err := client(t).Facts(ctx)
		if err != nil {
			return "", err
		}
		answer, ok := facts[p.Fact]
		if !ok {
			return "", fmt.Errorf("fact %q is not in the device file", p.Fact)
		}
		return answer, nil
	case p.File != "":
		return s.readFile(p.File)
	case p.HTTP != "":
		return s.get(ctx, p.HTTP)
	}
	if s.c.Exec == nil {
		return "", errors.New("commands cannot be run here")
	}
	out, err := s.c.Exec(ctx, p.Exec, "")
	return string(out), err
}

func (s *Confirm) readFile(name string) (string, error) {
	f, err := s.c.Disk.OpenFile(name, 0, 0)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxAnswer))
	return string(b), errors.Join(err, f.Close())
}

func (s *Confirm) get(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", errors.New("not a URL")
	}
	resp, err := (&http.Client{Transport: s.c.HTTP}).Do(req)
	if err != nil {
		return "", redacted(err)
	}
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answers %s", resp.Status)
	}
	return b.String(), nil
}

// redacted takes the URL with its query out of a client's error.
func redacted(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("%s %s: %w", u.Op, trust.Redact(u.URL), u.Err)
	}
	return err
}

// Plan lists the restart, if there is something new to start.
func (s *Confirm) Plan(_ context.Context, t *engine.Task) ([]engine.Effect, error) {
	chosen := slices.ContainsFunc(t.Writes(), func(w device.Target) bool {
		return w.Type != device.File && (s.Restart == "device" || s.Restart == w.Name)
	})
	if s.Restart == "" || !chosen {
		return nil, nil
	}
	return []engine.Effect{{Step: t.Step, Kind: "restart", Target: s.Restart, Certainty: engine.Exact, Undo: "a restart into the old version"}}, nil
}

var _ engine.Confirmer = (*Confirm)(nil)
