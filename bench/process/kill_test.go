package process

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	kills = flag.Int("kills", 12, "how many processes to kill")
	at1   = flag.Int("at-once", 6, "how many devices at once")
)

// moments are where a kill is aimed at. What it hit is read from the events
// that the process left.
var moments = []string{"fetch and write", "between done and armed", "after the restart", "report"}

// TestKill kills updates that run in processes of their own. Each is killed
// once, started again with the same id, and must end well.
func TestKill(t *testing.T) {
	k := theKit(t)
	s := newServer(t, k.dir)
	tally := &tally{hit: map[string]int{}, ends: map[string]int{}}
	var wait sync.WaitGroup
	slots := make(chan struct{}, *at1)
	for i := range *kills {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			tally.one(t, k, s, i)
		})
	}
	wait.Wait()
	tally.print(t)
	if bad := *kills - tally.ends["exit 0"]; bad*100 > *kills*2 {
		t.Errorf("%d of %d did not end with 0, at most 2 in 100 may", bad, *kills)
	}
	for _, m := range moments {
		// A handful of kills may miss a moment of a millisecond; a hundred must not.
		if want := *kills / 10; *kills >= 100 && tally.hit[m] < want {
			t.Errorf("%d kills hit %q, want at least %d", tally.hit[m], m, want)
		}
	}
}

type tally struct {
	mu    sync.Mutex
	hit   map[string]int
	ends  map[string]int
	again []int64 // bytes fetched twice
}

// one is one device, one kill.
func (y *tally) one(t *testing.T, k *kit, s *server, i int) {
	kind := []string{"full", "delta"}[i/len(moments)%2]
	b := k.box(t, s, fmt.Sprintf("dev-%d", i), kind)
	defer os.RemoveAll(b.dir)
	b.warm(t)
	artifact, size := b.artifact(t)
	s.mu.Lock()
	s.rate[b.name] = max(size/5, 1) // five seconds at the least
	s.mu.Unlock()
	hit, early := b.killOnce(t, moments[i%len(moments)])
	end := "exit 0"
	if err := b.again(); err != nil {
		end = err.Error()
		t.Logf("device %d, killed in %s: %v", i, hit, err)
	}
	s.mu.Lock()
	sent := s.sent[b.name+"/"+artifact]
	var ids []string
	for key := range s.reports {
		if rest, ok := strings.CutPrefix(key, b.name+" "); ok {
			ids = append(ids, rest)
		}
	}
	s.mu.Unlock()
	b.check(t, end)
	if len(ids) != 1 || !early && ids[0] != "x.0 succeeded" {
		t.Errorf("device %d, killed in %s: reports %q, want x.0 succeeded alone", i, hit, ids)
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.hit[hit]++
	y.ends[end]++
	y.again = append(y.again, max(sent-size, 0))
	// Up to a checkpoint again, and what was on its way when the process died.
	if limit := int64(1<<20 + 512<<10); sent-size > limit {
		t.Errorf("device %d (%s), killed in %s: %d bytes fetched again, at most %d", i, kind, hit, sent-size, limit)
	}
}

// artifact is the file that the device downloads, and its size.
func (b *box) artifact(t *testing.T) (string, int64) {
	names, err := filepath.Glob(filepath.Join(b.k.dir, b.kind, "image*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no artifact: %v", err)
	}
	slices.Sort(names)
	name := names[0]
	if b.kind != "full" {
		name = names[len(names)-1]
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(name), info.Size()
}

// killOnce starts the update, kills it at the moment and says what it hit.
func (b *box) killOnce(t *testing.T, moment string) (hit string, early bool) {
	var once sync.Once
	now := make(chan time.Duration, 1)
	aim := func(d time.Duration) { once.Do(func() { now <- d }) }
	inReport := make(chan struct{})
	if moment == "report" {
		b.s.mu.Lock()
		b.s.inReport[b.name] = inReport
		b.s.hold[b.name] = rand.IntN(2) == 0
		b.s.mu.Unlock()
	}
	cmd, wait, err := b.start(func(e event) {
		switch {
		case moment == "fetch and write" && e.Kind == "progress":
			aim(rand.N(4500 * time.Millisecond))
		case moment == "between done and armed" && e.Kind == "step" && e.Step == "write" && e.State == "done":
			aim(rand.N(3 * time.Millisecond))
		case moment == "after the restart" && e.Kind == "restart" && e.State == "booted":
			aim(rand.N(2 * time.Millisecond))
		}
	})
	if err != nil {
		t.Error(err)
		return "not started", true
	}
	ended := make(chan error, 1)
	go func() { ended <- wait() }()
	select {
	case d := <-now:
		select {
		case <-time.After(d):
		case err := <-ended:
			return "nothing, it had ended: " + fmt.Sprint(err), false
		}
	case <-inReport:
		time.Sleep(rand.N(2 * time.Millisecond))
	case err := <-ended:
		return "nothing, it had ended: " + fmt.Sprint(err), false
	case <-time.After(2 * time.Minute):
		t.Errorf("%s did not come to %q", b.name, moment)
	}
	_ = cmd.Process.Kill()
	<-ended
	return b.hit(moment), false
}

// hit reads from the events what the killed process was doing.
func (b *box) hit(aimed string) string {
	where := "fetch and write"
	for _, e := range b.lastEvents(100) {
		switch {
		case e.Kind == "step" && e.Step == "write" && e.State == "done":
			where = "between done and armed"
		case e.Kind == "restart" && e.State == "armed":
			where = "between armed and restart"
		case e.Kind == "restart" && (e.State == "restarting" || e.State == "booted"):
			where = "after the restart"
		case e.Kind == "run" && e.State == "succeeded":
			where = "report"
		case e.Kind == "report":
			where = "after the report"
		}
	}
	return where
}

// again starts the run with the same id until it has ended.
func (b *box) again() error {
	_, wait, err := b.start(func(event) {})
	if err != nil {
		return err
	}
	if err := wait(); err != nil {
		return err
	}
	return nil
}

// check holds the slots to one of the two states.
func (b *box) check(t *testing.T, end string) {
	for name, want := range map[string][]byte{"slot-a.img": b.k.old, "slot-b.img": b.k.new} {
		got, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			t.Error(err)
		}
		if !bytes.Equal(got, want) && (name == "slot-a.img" || end == "exit 0") {
			t.Errorf("%s: %s is not what it must be after %s", b.name, name, end)
		}
	}
}

func (y *tally) print(t *testing.T) {
	slices.Sort(y.again)
	var total int64
	for _, n := range y.again {
		total += n
	}
	t.Logf("%d kills", *kills)
	for _, m := range slices.Concat(moments, []string{"between armed and restart", "after the report"}) {
		t.Logf("  %-26s %4d %s", m, y.hit[m], strings.Repeat("#", y.hit[m]*60/max(*kills, 1)))
	}
	t.Logf("ends %v", y.ends)
	if len(y.again) > 0 {
		t.Logf("bytes fetched again: median %d, most %d", y.again[len(y.again)/2], y.again[len(y.again)-1])
	}
}
