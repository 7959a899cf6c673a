package device

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	bootVersion = "boot/1"
	bootAdvice  = "restore it from a copy, or remove it to begin anew with the first slot active"
)

// bootFile is a boot state that a boot loader shares with updraft. It may be
// shared.
type bootFile struct {
	fs    disk.FS
	path  string
	pairs map[string]pair // by target

	mu sync.Mutex // of update
}

// pair is what the device file says of slots.
type pair struct {
	names []string // sorted
	first string   // active if nobody says otherwise
}

// bootState is the content of a boot file.
type bootState struct {
	Updraft string `json:"updraft"`
	// Boots counts the starts of the device.
	Boots   int64                  `json:"boots"`
	Targets map[string]*bootTarget `json:"targets"`
}

type bootTarget struct {
	Boot
	Stamps map[string]Stamp `json:"stamps,omitempty"`
	Runs   records          `json:"runs,omitempty"`
}

// load reads the state. A file or target that is not there yet begins with the
// first slot active and good.
func (b *bootFile) load() (*bootState, []byte, error) {
	st := new(bootState)
	raw, found, err := readState(b.fs, b.path, bootAdvice, st)
	if err != nil {
		return nil, nil, err
	}
	if !found {
		st.Updraft = bootVersion
	}
	if err := b.check(st); err != nil {
		return nil, nil, corrupt(b.path, bootAdvice, err)
	}
	if st.Targets == nil {
		st.Targets = map[string]*bootTarget{}
	}
	for name, p := range b.pairs {
		if st.Targets[name] == nil {
			st.Targets[name] = &bootTarget{Boot: Boot{Active: p.first, Good: []string{p.first}}}
		}
	}
	return st, raw, nil
}

func (b *bootFile) check(st *bootState) error {
	if st.Updraft != bootVersion {
		return fmt.Errorf("expected version %q, have %s", bootVersion, quote(st.Updraft))
	}
	if st.Boots < 0 {
		return fmt.Errorf("boots is %d", st.Boots)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Targets)) {
		t := st.Targets[name]
		if t == nil || t.Tries < 0 {
			return fmt.Errorf("target %s has no state or negative tries", quote(name))
		}
		p, ok := b.pairs[name]
		if !ok {
			continue // another device file's
		}
		named := append([]string{t.Active}, t.Good...)
		if t.Next != "" {
			named = append(named, t.Next)
		}
		for _, slot := range named {
			if !slices.Contains(p.names, slot) {
				return fmt.Errorf("target %s names slot %s, the device file has %v", name, quote(slot), p.names)
			}
		}
	}
	return nil
}

// update changes the state and makes it durable. If change fails, nothing is
// written.
func (b *bootFile) update(change func(st *bootState) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	st, raw, err := b.load()
	if err != nil {
		return err
	}
	if err := change(st); err != nil {
		return err
	}
	return writeState(b.fs, b.path, raw, st)
}

// start does to t what a boot loader does at power on.
func (t *bootTarget) start() {
	switch {
	case t.Next != "" && t.Tries > 0:
		t.Tries--
		t.Active = t.Next
	case t.Next != "" || !slices.Contains(t.Good, t.Active):
		t.Active = t.fallback()
	}
}

// fallback gives the slot that was proven last and is not the one on trial.
// Next, Tries and Nonce stay: they tell the run that its trial is used up.
func (t *bootTarget) fallback() string {
	if t.Active != t.Next && slices.Contains(t.Good, t.Active) {
		return t.Active
	}
	for _, slot := range slices.Backward(t.Good) {
		if slot != t.Next {
			return slot
		}
	}
	if len(t.Good) > 0 {
		return t.Good[len(t.Good)-1]
	}
	return t.Active // nothing is proven, so there is no choice
}

// onTrial says that a choice of somebody may still start Next or has started it.
func (t *bootTarget) onTrial() bool {
	return t.Next != "" && (t.Tries > 0 || t.Active == t.Next)
}

// prove makes a slot the one that was proven last.
func (b *Boot) prove(part string) {
	b.disprove(part)
	b.Good = append(b.Good, part)
}

func (b *Boot) disprove(part string) {
	b.Good = slices.DeleteFunc(slices.Clone(b.Good), func(s string) bool { return s == part })
}

// endTrial takes back the choice. The nonce stays.
func (b *Boot) endTrial() { b.Next, b.Tries = "", 0 }
