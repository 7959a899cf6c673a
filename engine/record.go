package engine

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/updraft-ota/updraft/device"
)

// RecordKind is the kind of a [Record].
type RecordKind string

// The kinds of records, in the order in which a run usually writes them.
const (
	KindAccepted  RecordKind = "accepted"
	KindJoined    RecordKind = "joined"
	KindLost      RecordKind = "lost" // the journal was rebuilt from the guard
	KindIntent    RecordKind = "intent"
	KindRetry     RecordKind = "retry"
	KindDone      RecordKind = "done"
	KindArmed     RecordKind = "armed"
	KindBooted    RecordKind = "booted"
	KindConfirmed RecordKind = "confirmed"
	KindFailing   RecordKind = "failing"
	KindUndone    RecordKind = "undone"
	KindEnded     RecordKind = "ended"
	KindReported  RecordKind = "reported"
)

// critical says which kinds the guard counts: losing one must not go unseen.
var critical = map[RecordKind]bool{
	KindAccepted: true, KindLost: true, KindArmed: true, KindBooted: true,
	KindConfirmed: true, KindFailing: true, KindEnded: true,
}

// schema is the version of the record format.
const schema = 1

// Record is one line of a run's life. Records are only ever appended.
type Record struct {
	Schema  int             `json:"schema"`
	Run     string          `json:"run"`
	Seq     uint64          `json:"seq"`
	Prev    uint32          `json:"prev"` // CRC of the record before, 0 for the first
	Kind    RecordKind      `json:"kind"`
	Step    string          `json:"step,omitempty"`
	Attempt int             `json:"attempt,omitempty"`
	Boot    string          `json:"boot,omitempty"` // incarnation of the device
	Wall    time.Time       `json:"wall"`
	Mono    time.Duration   `json:"mono"` // of the process that wrote it
	Data    json.RawMessage `json:"data,omitempty"`
	CRC     uint32          `json:"crc"` // CRC-32C of the record with this field 0
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode seals r and gives its bytes.
func (r *Record) encode() ([]byte, error) {
	r.CRC = 0
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record %d: %w", r.Seq, err)
	}
	r.CRC = crc32.Checksum(plain, castagnoli)
	return json.Marshal(r)
}

// decodeRecord reads what encode wrote. Anything else is [ErrStore].
func decodeRecord(b []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: record cannot be read: %v", ErrStore, err)
	}
	if r.Schema != schema {
		return r, fmt.Errorf("%w: record has schema %d, want %d", ErrStore, r.Schema, schema)
	}
	want := r.CRC
	if again, err := r.encode(); err != nil || r.CRC != want || string(again) != string(b) {
		return r, fmt.Errorf("%w: record %d fails its checksum", ErrStore, r.Seq)
	}
	return r, nil
}

// KindOf gives the kind and step of an encoded record, for tests and tools. Of
// damaged bytes it gives none.
func KindOf(encoded []byte) (RecordKind, string) {
	r, err := decodeRecord(encoded)
	if err != nil {
		return "", ""
	}
	return r.Kind, r.Step
}

// decodeLog reads all entries of a run and checks their chain.
func decodeLog(run string, entries []Entry) ([]Record, error) {
	records := make([]Record, 0, len(entries))
	var prev uint32
	for i, e := range entries {
		r, err := decodeRecord(e.Bytes)
		if err != nil {
			return records, err
		}
		if e.Seq != uint64(i) || r.Seq != uint64(i) || r.Run != run || r.Prev != prev {
			return records, fmt.Errorf("%w: record %d of run %s does not follow the one before", ErrStore, i, run)
		}
		prev = r.CRC
		records = append(records, r)
	}
	return records, nil
}

// The data of the kinds that carry some.

type accepted struct {
	Commands []CommandRef      `json:"commands"`
	Goal     string            `json:"goal"`
	Workflow string            `json:"workflow"`
	Document string            `json:"document"` // SHA-256 of the stored document
	Files    map[string]string `json:"files,omitempty"`
	Inputs   map[string]any    `json:"inputs,omitempty"`
}

// CommandRef names a command of a plane.
type CommandRef struct {
	Plane string `json:"plane"`
	ID    string `json:"id"`
}

type lost struct {
	Cause    string    `json:"cause"`
	Accepted *accepted `json:"accepted,omitempty"`
	Trial    bool      `json:"trial,omitempty"`
	// Confirmed says that the new version was proven before the journal was lost.
	Confirmed bool   `json:"confirmed,omitempty"`
	Ended     string `json:"ended,omitempty"`
}

type intent struct {
	Chain   []string                  `json:"chain,omitempty"` // filters fused into this step
	Inputs  []string                  `json:"inputs,omitempty"`
	Targets map[string]device.Target  `json:"targets,omitempty"` // by unresolved ref
	Undo    []device.Undo             `json:"undo,omitempty"`
	Outputs map[string]map[string]any `json:"outputs,omitempty"`
	Release map[string]any            `json:"release,omitempty"`
}

type done struct {
	Outputs map[string]map[string]any `json:"outputs,omitempty"`
	Release map[string]any            `json:"release,omitempty"`
	Skipped bool                      `json:"skipped,omitempty"` // its condition was false
	Already bool                      `json:"already,omitempty"` // the target held it before
	Stored  *stored                   `json:"stored,omitempty"`
}

type stored struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

type direction string

const (
	forward  direction = "forward"
	backward direction = "backward"
)

type choice struct {
	Target string `json:"target"`
	From   string `json:"from"`
	To     string `json:"to"`
}

type armed struct {
	Scope       string    `json:"scope"`
	Incarnation string    `json:"incarnation"`
	Choices     []choice  `json:"choices"`
	Tries       int       `json:"tries"`
	Direction   direction `json:"direction"`
}

type failing struct {
	Code      string `json:"code"`
	Cause     string `json:"cause"`
	Refused   bool   `json:"refused,omitempty"`
	Cancelled bool   `json:"cancelled,omitempty"`
}

type ended struct {
	State   EndState `json:"state"`
	Code    string   `json:"code,omitempty"`
	Message string   `json:"message,omitempty"`
	Step    string   `json:"step,omitempty"`
	// Order grows from end to end, whatever the wall clock does.
	Order uint64 `json:"order,omitempty"`
}

// EndState is the state in which a run ended or stopped.
type EndState string

// The states of a run that is not running.
const (
	Succeeded  EndState = "succeeded"
	RefusedEnd EndState = "refused"
	RolledBack EndState = "rolled_back"
	Failed     EndState = "failed"
	Cancelled  EndState = "cancelled"
	Waiting    EndState = "waiting" // not an end: Run goes on
)
