package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
)

// The files of a state directory that others may read, and the one that they
// may write while a run goes on.
const (
	StatusFile = "status.json"
	EventsFile = "events.ndjson"
	CancelFile = "cancel" // holds the id of the run to cancel
)

// Status is the content of status.json.
type Status struct {
	Run     string    `json:"run"`
	State   string    `json:"state"` // running, waiting, failing, or an [EndState]
	Step    string    `json:"step,omitempty"`
	Done    int64     `json:"done,omitempty"`  // bytes
	Total   int64     `json:"total,omitempty"` // bytes
	Code    string    `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
	Updated time.Time `json:"updated"`
}

const (
	maxEvents     = 1 << 20 // bytes of events.ndjson before it begins anew
	progressEvery = 200 * time.Millisecond
)

// eventLog tells events to a callback and to files. The files are for people
// and may lose their end: nothing reads them back to decide.
type eventLog struct {
	fs     disk.FS
	dir    string
	clock  disk.Clock
	tell   func(Event)
	seq    int64
	status Status
	told   time.Duration // when the last progress went out
	step   string        // whose
	mu     sync.Mutex    // of all that changes; events are told in order
}

// event numbers, dates and tells ev.
func (d *drive) event(ev Event) {
	if !d.dry {
		if len(ev.Text) > 2*maxText {
			ev.Text = ev.Text[:2*maxText] + " …"
		}
		d.e.log.add(d.r.id, ev)
	}
}

func (l *eventLog) add(run string, ev Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Mono()
	if ev.Kind == EventProgress {
		if !l.progress(&ev, now) {
			return
		}
	}
	l.seq++
	ev.Seq, ev.Run, ev.Time = l.seq, run, l.clock.Now().UTC()
	if l.tell != nil {
		l.tell(ev)
	}
	l.keep(ev)
}

// progress coalesces: at most five a second, and the last of a step always.
func (l *eventLog) progress(ev *Event, now time.Duration) bool {
	if ev.Step == l.step {
		ev.Done = max(ev.Done, l.status.Done)
		if now-l.told < progressEvery && (ev.Total == 0 || ev.Done < ev.Total) {
			return false
		}
	}
	l.told, l.step = now, ev.Step
	return true
}

// keep writes the event to the files. A disk that cannot take them does not
// stop the run.
func (l *eventLog) keep(ev Event) {
	s := &l.status
	if s.Run != ev.Run || ev.Step != "" && ev.Step != s.Step {
		*s = Status{Run: ev.Run, State: s.State, Step: ev.Step}
	}
	s.Updated = ev.Time
	switch ev.Kind {
	case EventRun:
		s.State, s.Code, s.Message = ev.State, ev.Code, ev.Text
		if ev.State == "accepted" || ev.State == "resumed" {
			s.State, s.Message = "running", ""
		}
	case EventProgress:
		s.Done, s.Total = ev.Done, ev.Total
	}
	if b, err := json.Marshal(s); err == nil {
		l.replace(StatusFile, append(b, '\n'))
	}
	if ev.Kind != EventProgress {
		if b, err := json.Marshal(ev); err == nil {
			l.add1(append(b, '\n'))
		}
	}
}

// replace writes a file by rename, without a sync: readers see it whole, and
// after a power cut an old or empty one does no harm.
func (l *eventLog) replace(name string, data []byte) {
	full := path.Join(l.dir, name)
	f, err := l.fs.OpenFile(full+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return
	}
	_, err = f.WriteAt(data, 0)
	if err = errors.Join(err, f.Close()); err == nil {
		_ = l.fs.Rename(full+".new", full)
	}
}

func (l *eventLog) add1(line []byte) {
	full := path.Join(l.dir, EventsFile)
	f, err := l.fs.OpenFile(full, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return
	}
	size, err := f.Size()
	if err == nil && size > maxEvents {
		err, size = f.Truncate(0), 0
	}
	if err == nil {
		_, _ = f.WriteAt(line, size)
	}
	_ = f.Close()
}

// cancelRequested looks for the cancel file.
func (d *drive) cancelRequested() bool {
	b, err := disk.ReadFile(d.e.c.FS, path.Join(d.e.c.Dir, CancelFile), 256)
	return err == nil && string(bytes.TrimSpace(b)) == d.r.id
}

// forgetCancel removes a cancel file that has been answered.
func (d *drive) forgetCancel() {
	if d.cancelRequested() {
		_ = d.e.c.FS.Remove(path.Join(d.e.c.Dir, CancelFile))
	}
}

// Cancel asks the run to turn back at its next safe point. It may be called by another
// process than the one that runs it.
func Cancel(fsys disk.FS, dir, run string) error {
	return disk.WriteFile(fsys, path.Join(dir, CancelFile), []byte(run+"\n"), 0o600)
}

// ReadStatus reads status.json of a state directory. Without one it is
// fs.ErrNotExist.
func ReadStatus(fsys disk.FS, dir string) (Status, error) {
	var s Status
	b, err := disk.ReadFile(fsys, path.Join(dir, StatusFile), 64<<10)
	if err != nil {
		return s, err
	}
	if len(b) == 0 {
		return s, fs.ErrNotExist
	}
	return s, json.Unmarshal(b, &s)
}
