package cloudsim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// FaultKind says what goes wrong.
type FaultKind string

// The faults of the broker, of the file server, and the end of all of them.
const (
	FaultDuplicate  FaultKind = "duplicate"   // messages to devices come twice
	FaultDelay      FaultKind = "delay"       // messages to devices come Delay later
	FaultReorder    FaultKind = "reorder"     // messages to devices are overtaken by the next
	FaultDrop       FaultKind = "drop"        // without Every, connections are cut once; else at each such message
	FaultLostPuback FaultKind = "lost-puback" // acknowledgements get lost, both ways; messages come again
	FaultSilent     FaultKind = "silent"      // connections are taken and nothing is answered
	FaultSlow       FaultKind = "slow"        // files come at Rate
	FaultCut        FaultKind = "cut"         // files end after After bytes
	FaultMissing    FaultKind = "missing"     // files are 404
	FaultChanged    FaultKind = "changed"     // files have other bytes and another ETag
	FaultStatus     FaultKind = "status"      // files are answered with Status
	FaultNoRange    FaultKind = "no-range"    // files come whole, whatever part is asked for
	FaultNewURL     FaultKind = "new-url"     // each time a URL is told it has another query
	FaultWrongHash  FaultKind = "wrong-hash"  // digests in orders from now on are wrong
	FaultWrongSize  FaultKind = "wrong-size"  // sizes in orders from now on are wrong
	FaultToken      FaultKind = "token"       // connections are cut and logins refused, as with an expired token
	FaultThrottled  FaultKind = "throttled"   // requests get the vendor's word for "too many"
	FaultNone       FaultKind = "none"        // all is well again
)

// Duration is a time.Duration that is text such as "200ms" in JSON.
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText gives the text of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Fault is one thing that goes wrong until it is replaced by one of the same
// kind, or by FaultNone.
type Fault struct {
	Kind FaultKind `json:"kind"`
	// Client limits it to a client id, or for files to a name. Empty means all.
	Client string `json:"client,omitempty"`
	// Every makes it happen each so many times only: 3 means at the third, sixth and so on.
	Every int `json:"every,omitempty"`
	// Percent makes it happen at that many of 100 occasions, at random.
	Percent int `json:"percent,omitempty"`
	// Delay is of FaultDelay, at most a minute.
	Delay Duration `json:"delay,omitempty"`
	// Rate is of FaultSlow, in bytes a second.
	Rate int64 `json:"rate,omitempty"`
	// After is of FaultCut, in bytes of one answer.
	After int64 `json:"after,omitempty"`
	// Status is of FaultStatus, such as 403 or 408.
	Status int `json:"status,omitempty"`
	// Off ends this kind.
	Off bool `json:"off,omitempty"`
	// Hits counts how often it has happened; it is not read.
	Hits int `json:"hits,omitempty"`
}

func (f Fault) check() error {
	known := []FaultKind{FaultDuplicate, FaultDelay, FaultReorder, FaultDrop, FaultLostPuback, FaultSilent,
		FaultSlow, FaultCut, FaultMissing, FaultChanged, FaultStatus, FaultNoRange, FaultNewURL, FaultWrongHash, FaultWrongSize,
		FaultToken, FaultThrottled, FaultNone}
	switch {
	case !slices.Contains(known, f.Kind):
		return fmt.Errorf("%w: unknown fault %q (have %q)", ErrConfig, f.Kind, known)
	case f.Off:
	case f.Percent < 0 || f.Percent > 100 || f.Percent > 0 && f.Every > 0:
		return fmt.Errorf("%w: fault %s with a percent of %d, want 1 to 100, and no every beside it", ErrConfig, f.Kind, f.Percent)
	case f.Every < 0 || f.After < 0:
		return fmt.Errorf("%w: fault %s with a negative number", ErrConfig, f.Kind)
	case f.Kind == FaultDelay && (f.Delay <= 0 || f.Delay > Duration(time.Minute)):
		return fmt.Errorf("%w: fault delay needs a delay of up to a minute, such as 200ms", ErrConfig)
	case f.Kind == FaultStatus && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("%w: fault status needs a status of 400 to 599", ErrConfig)
	case f.Kind == FaultSlow && f.Rate <= 0:
		return fmt.Errorf("%w: fault slow needs a rate in bytes a second", ErrConfig)
	}
	return nil
}

// faults are those of the moment.
type faults struct {
	mu    sync.Mutex
	now   map[FaultKind]*Fault
	count map[FaultKind]int // of occasions
}

func newFaults() *faults { return &faults{now: map[FaultKind]*Fault{}, count: map[FaultKind]int{}} }

func (f *faults) set(v Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v.Hits = 0
	switch {
	case v.Kind == FaultNone:
		clear(f.now)
	case v.Off:
		delete(f.now, v.Kind)
	default:
		f.now[v.Kind] = &v
		f.count[v.Kind] = 0
	}
}

// get gives a fault that concerns somebody at all.
func (f *faults) get(kind FaultKind, who string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.now[kind]
	if v == nil || v.Client != "" && v.Client != who {
		return Fault{}, false
	}
	return *v, true
}

func (f *faults) on(kind FaultKind, who string) bool {
	_, ok := f.get(kind, who)
	return ok
}

// hit counts an occasion and says whether the fault happens at it.
func (f *faults) hit(kind FaultKind, who string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.now[kind]
	if v == nil || v.Client != "" && v.Client != who {
		return false
	}
	f.count[kind]++
	if v.Every > 1 && f.count[kind]%v.Every != 0 || v.Percent > 0 && rand.IntN(100) >= v.Percent {
		return false
	}
	v.Hits++
	return true
}

func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []Fault{}
	for _, kind := range slices.Sorted(maps.Keys(f.now)) {
		out = append(out, *f.now[kind])
	}
	return out
}

// SetFault makes something go wrong from now on. FaultDrop without Every
// happens once, now. Errors wrap [ErrConfig].
func (s *Sim) SetFault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.Kind == FaultDrop && f.Every == 0 && f.Percent == 0 && !f.Off {
		s.drop(f.Client)
		return nil
	}
	s.faults.set(f)
	if f.Kind == FaultToken && !f.Off {
		s.drop(f.Client)
	}
	return nil
}

// Faults are those of the moment.
func (s *Sim) Faults() []Fault { return s.faults.list() }
