package journal_test

import (
	"testing"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
	"github.com/updraft-ota/updraft/engine/storetest"
)

func open(dir string) (engine.Store, error) { return journal.Open(dir, journal.Options{}) }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := t.TempDir() + "/journal"
		return func() (engine.Store, error) { return open(dir) }
	})
}

func TestKill(t *testing.T) { storetest.Kill(t, rounds(), 0, open) }

// TestKillTurning turns Badger's log over about every 10 batches.
func TestKillTurning(t *testing.T) { storetest.Kill(t, rounds(), 50<<10, open) }

func rounds() int {
	if testing.Short() {
		return 8
	}
	return 30
}
