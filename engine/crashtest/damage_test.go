package crashtest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
	"github.com/updraft-ota/updraft/engine/storetest"
	"github.com/updraft-ota/updraft/internal/disk"
)

// damageAll flips every byte of the store instead of a slice of them.
const damageAll = "UPDRAFT_DAMAGE_ALL"

// TestDamagedJournals damages a real store of a run that was cut before and
// after the boot choice, byte by byte and cut by cut, and lets the run go on. Each time the
// run must come to a true end: as if nothing was, with records lost that do not
// matter, or as state_lost. A critical record must not be missing in silence.
func TestDamagedJournals(t *testing.T) {
	for _, tt := range []struct {
		name string
		stop func(engine.Event) bool
	}{
		{"before the boot choice", at(engine.EventStep, "done")},
		{"after the boot choice", at(engine.EventRestart, "restarting")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(memoryDir(t), "journal")
			before, records := cutRun(t, dir, tt.stop)
			every := 23
			if testing.Short() {
				every = 101
			}
			if os.Getenv(damageAll) != "" {
				every = 1
			}
			tally := map[string]int{}
			n := 0
			d := storetest.Damager{Dir: dir, Scratch: memoryDir(t), Every: every, Skip: func(name string) bool { return strings.HasSuffix(name, ".lock") }}
			err := d.Damage(func(copied, what string) error {
				n++
				outcome, err := goOn(t, before, copied, records)
				if err != nil {
					return err
				}
				tally[outcome]++
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d damages of a store of %d records: %v", n, records, tally)
			if tally["unaffected"] == 0 || tally["state_lost"] == 0 {
				t.Errorf("%v: want some of unaffected and of state_lost", tally)
			}
		})
	}
}

// cutRun runs on a real journal in dir until stop, and leaves the store as a
// kill does.
func cutRun(t *testing.T, dir string, stop func(engine.Event) bool) (m *machine, records int) {
	t.Helper()
	m = newMachine(t, slot("device", false))
	live := filepath.Join(memoryDir(t), "live")
	j, err := journal.Open(live, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if p := recover(); p == nil || !powerCut(p) {
				t.Fatalf("the run was not cut: %v", p)
			}
		}()
		m.set = func(c *engine.Config) {
			c.Store, c.Panics = j, powerCut
			c.Events = func(e engine.Event) {
				if stop(e) {
					panic(cutPower{})
				}
			}
		}
		_, err := m.run(t.Context(), "x")
		t.Fatalf("the run came to its end: %v", err)
	}()
	if err := os.CopyFS(dir, os.DirFS(live)); err != nil { // as it is now, not closed
		t.Fatal(err)
	}
	log, err := j.Load(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return m, len(log.Entries)
}

// goOn lets a run go on with a damaged journal and says how that was.
func goOn(t *testing.T, before *machine, dir string, records int) (string, error) {
	m := &machine{t: t, disk: before.disk.Clone(), clock: disk.NewVirtual(time.Unix(1e9, 0)), boots: before.boots, graph: before.graph, mode: before.mode}
	began := time.Now()
	var open *journal.Journal
	anew := func(cause error) (engine.Store, error) {
		if open != nil {
			_ = open.Close()
		}
		if cause != nil {
			if _, err := journal.Quarantine(dir); err != nil {
				return nil, err
			}
		}
		var err error
		open, err = journal.Open(dir, journal.Options{})
		return open, err
	}
	_, err := anew(nil)
	if errors.Is(err, engine.ErrStore) {
		_, err = anew(err)
	}
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	log, err := open.Load(t.Context(), "x")
	left := len(log.Entries)
	if err != nil && !errors.Is(err, engine.ErrStore) {
		return "", err
	}
	m.set = func(c *engine.Config) { c.Store, c.Reset = open, anew }
	res, err := m.run(t.Context(), "x")
	if err != nil {
		return "", fmt.Errorf("run: %w", err)
	}
	if err := open.Close(); err != nil {
		return "", err
	}
	if took := time.Since(began); took > 20*time.Second {
		return "", fmt.Errorf("took %v", took)
	}
	return m.judge(res, left, records)
}

// judge holds the device to the end that was reported.
func (m *machine) judge(res engine.Result, left, records int) (string, error) {
	boot := m.boot("rootfs")
	want := map[engine.EndState]string{engine.Succeeded: "b", engine.RolledBack: "a"}[res.State]
	if boot.Active != want || boot.Next != "" {
		return "", fmt.Errorf("ended %+v, boot state %+v", res, boot)
	}
	if got := m.read("/d/a.img"); got != string((&bytesOf{seed: 1, n: slotSize}).data()) {
		return "", fmt.Errorf("ended %+v, and the old slot has changed", res)
	}
	if want == "b" && m.read("/d/b.img") != string((&bytesOf{seed: 9, n: 3 * slotSize / 2}).data()) {
		return "", fmt.Errorf("ended %+v, and the new slot is mixed", res)
	}
	switch {
	case res.Code == "state_lost":
		return "state_lost", nil
	case res.State != engine.Succeeded:
		return "", fmt.Errorf("ended %+v without a word of lost state", res)
	case left < records:
		return "records lost that do not matter", nil
	}
	return "unaffected", nil
}

// memoryDir is a folder in memory, where there is one: thousands of stores are
// copied.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "updraft-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
