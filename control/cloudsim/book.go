package cloudsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxDevices = 10_000
	maxEnds    = 1000 // of a device; the oldest are forgotten
	maxReason  = 512  // bytes of the code and of the message of an end
)

// Outcome says how an update ended, whatever the vendor's word for it is.
type Outcome string

// The outcomes.
const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	Cancelled Outcome = "cancelled"
	Rejected  Outcome = "rejected"
	TimedOut  Outcome = "timed-out"
)

// End is a terminal report of a device, or an end that the cloud itself made.
type End struct {
	Job      string    `json:"job"`
	Outcome  Outcome   `json:"outcome"`
	Result   string    `json:"result"`            // the vendor's word
	Code     string    `json:"code,omitempty"`    // of a failure
	Message  string    `json:"message,omitempty"` // of a failure
	Report   string    `json:"report,omitempty"`  // identity of the report, if it has one
	Arrivals int       `json:"arrivals"`          // how often it came
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// Record is what a cloud keeps of one device.
type Record struct {
	// Doc is the vendor's own state: a shadow, a twin, jobs.
	Doc json.RawMessage `json:"doc"`
	// Ends are the ends of updates, the oldest first.
	Ends []End `json:"ends"`
}

// Read decodes Doc into v, with exact numbers. Without a Doc v stays as it is.
func (r Record) Read(v any) error {
	if len(r.Doc) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(r.Doc))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}

// Write makes v the Doc.
func (r *Record) Write(v any) (err error) {
	if r.Doc, err = json.Marshal(v); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}

// End notes an end at a time, or that a known one (same job, result and
// report) came again, and gives it as it stands then.
func (r *Record) End(e End, at time.Time) End {
	e.First, e.Last, e.Arrivals = at.UTC(), at.UTC(), 1
	e.Code, e.Message = bounded(e.Code), bounded(e.Message)
	ends := slices.Clone(r.Ends)
	for i, known := range ends {
		if known.Job == e.Job && known.Result == e.Result && known.Report == e.Report {
			ends[i].Arrivals++
			ends[i].Last = e.Last
			r.Ends = ends
			return ends[i]
		}
	}
	r.Ends = append(ends[max(0, len(ends)+1-maxEnds):], e)
	return e
}

// bounded is text of a device that is kept for each end.
func bounded(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
}

// ErrTooMany means that the cloud keeps no more devices.
var ErrTooMany = errors.New("too many devices")

// Book keeps the records, in memory and each in a file. It may be used by any goroutine.
type Book struct {
	folder string // "" for none

	mu      sync.Mutex
	records map[string]Record
	locks   map[string]*sync.Mutex // of a device, for the time of a change
	changed chan struct{}          // closed and replaced with each change
}

func openBook(folder string) (*Book, error) {
	b := &Book{records: map[string]Record{}, locks: map[string]*sync.Mutex{}, changed: make(chan struct{})}
	if folder == "" {
		return b, nil
	}
	b.folder = filepath.Join(folder, "devices")
	if err := os.MkdirAll(b.folder, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	files, err := os.ReadDir(b.folder)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	for _, f := range files {
		escaped, ok := strings.CutSuffix(f.Name(), ".json")
		device, err := url.QueryUnescape(escaped)
		if !ok || err != nil {
			continue // of a write that was not finished
		}
		name := filepath.Join(b.folder, f.Name())
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
		var r Record
		if err := decodeStrict(data, &r); err != nil {
			return nil, fmt.Errorf("%w: %s: %w; remove it to begin anew", ErrState, name, err)
		}
		b.records[device] = r
	}
	return b, nil
}

// Look gives a record, and whether there is one.
func (b *Book) Look(device string) (Record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.records[device]
	return r, ok
}

// watch gives a record and what is closed when any record changes.
func (b *Book) watch(device string) (Record, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.records[device], b.changed
}

// Devices are the names of all records, sorted.
func (b *Book) Devices() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.records))
}

// Change changes one record, one change of a device at a time. What it was
// given stays if change gives an error, which is then Change's; otherwise the
// record is in its file before Change returns. Errors of its own wrap
// [ErrState] or [ErrTooMany].
func (b *Book) Change(device string, change func(*Record) error) error {
	lock, err := b.lock(device)
	if err != nil {
		return err
	}
	lock.Lock()
	defer lock.Unlock()
	r, _ := b.Look(device)
	if err := change(&r); err != nil {
		return err
	}
	if b.folder != "" {
		data, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
		if err := replaceFile(filepath.Join(b.folder, url.QueryEscape(device)+".json"), data); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records[device] = r
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

func (b *Book) lock(device string) (*sync.Mutex, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.locks[device] == nil {
		if len(b.locks) >= maxDevices {
			return nil, ErrTooMany
		}
		b.locks[device] = &sync.Mutex{}
	}
	return b.locks[device], nil
}

// replaceFile writes a file so that the end of this process, whenever it
// comes, leaves the old or the new content. It does not wait for the disk: a
// simulator need not outlive the machine.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// decodeStrict refuses members that v does not have.
func decodeStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if d.More() {
		return fmt.Errorf("%w: something follows the JSON", ErrConfig)
	}
	return nil
}
