package aliyun

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// Limits of the book.
const (
	maxOpen    = 6   // jobs without an acknowledged end
	maxTold    = 8   // ended jobs that are remembered
	maxBare    = 8   // ends that are saved although nobody knows who asked
	maxForeign = 640 // bytes of the id of a report's command
	maxReason  = 300 // bytes of the text that says why
)

// Times of waiting.
const (
	firstWait = 10 * time.Second // for the broker's acknowledgement of an end, then doubled
	lastWait  = 5 * time.Minute
	againWait = 30 * time.Second // between two tellings of the same end
)

// The tokens of the book's timers. A dialect's own are FirstTimer to FirstTimer+7.
const (
	timerAnswer uint64 = iota + 1
	timerAgain
	FirstTimer        // of the dialect
	firstToken uint64 = FirstTimer + 8
)

// ErrBusy is the refusal of a device that does something else.
var ErrBusy = errors.New("busy")

// Cloud is what the book needs of a dialect: its words for what happens.
type Cloud interface {
	// Taken is called when the engine has made a job's command durable; anew
	// says that it is asked for the first time in this process and before.
	Taken(j *Job, anew bool, emit func(control.Out))
	// Refused is called when the job never became a run. It says whether the
	// cloud is to be told so as of an end; otherwise the job is forgotten.
	Refused(j *Job, why error, emit func(control.Out)) (tell bool)
	// Ended is called once for each job that has an ending.
	Ended(j *Job)
	// Tell gives the messages that tell the end of a job, none if the cloud has no
	// word for it. The same job may be told again.
	Tell(j *Job) []control.Out
}

// Asker is a [Cloud] in whose words an end may name no job. Such an end counts
// for whatever the cloud waits for when it arrives: sent a second time, it could
// end a job that has been asked for since.
type Asker interface {
	// Once says that the end of a job is such an end.
	Once(j *Job) bool
	// Ask asks what the cloud waits for of the job's module. The answer, if one
	// comes, is given to [Jobs.Waits]; without one the book has it asked again.
	Ask(now time.Time, j *Job, emit func(control.Out))
}

// Jobs is the book of one device. It must not be shared.
type Jobs struct {
	cloud Cloud
	seed  string // what the pauses of different devices differ by
	jobs  []*Job // ended ones in the order of their ends
	next  uint64 // token

	connected bool
	queue     []*Job // ends to tell; the first is under way
	waiting   bool   // for the broker to acknowledge the first
	asking    bool   // whether the cloud waits for the first still
	published uint64 // token of its last message
}

// NewJobs makes an empty book for a device.
func NewJobs(cloud Cloud, device Device) *Jobs {
	return &Jobs{cloud: cloud, seed: device.String(), next: firstToken}
}

// Restore takes what [Jobs.Save] gave, before the first Step. After an error the book is empty.
func (b *Jobs) Restore(raw json.RawMessage) error {
	var jobs []*Job
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &jobs); err != nil {
			return err
		}
	}
	for _, j := range jobs {
		if err := j.check(); err != nil {
			return err
		}
	}
	b.jobs = jobs
	for _, j := range jobs {
		if j.Stage == Ended {
			b.queue = append(b.queue, j)
		}
		j.restored = j.Stage == Running
	}
	return nil
}

// Save gives the jobs that run or have ended; nil if there are none. Of ends of
// jobs that were not asked for as far as is known there are few; what is beyond
// them comes again from the engine's outbox, behind the others as before.
func (b *Jobs) Save() []*Job {
	var kept []*Job
	bare := 0
	for _, j := range b.jobs {
		if j.Stage == Ended && j.Old == "" && j.Ending.Report != "" {
			if bare++; bare > maxBare {
				continue
			}
		}
		if j.Stage == Asked {
			if !j.restored {
				continue
			}
			asked := *j // only whether the engine knows it still is open
			asked.Stage = Running
			j = &asked
		}
		kept = append(kept, j)
	}
	return kept
}

// Step takes what the book is concerned with; anything else is let pass.
func (b *Jobs) Step(in control.In, emit func(control.Out)) {
	switch in.Kind {
	case control.InConnected:
		b.lose()
		b.connected = true
		for _, j := range b.jobs {
			j.attempt = 0
		}
		b.send(in.Now, emit)
	case control.InLost:
		b.lose()
	case control.InReceipt:
		b.receipt(in, emit)
	case control.InReport:
		b.report(in, emit)
	case control.InPublished:
		if in.Token != 0 && in.Token == b.published && len(b.queue) > 0 {
			b.delivered(in.Now, b.queue[0], emit)
		}
	case control.InTick:
		b.tick(in, emit)
	}
}

// lose forgets what belongs to a connection. Messages that were not
// acknowledged come again on the next.
func (b *Jobs) lose() {
	b.connected, b.waiting, b.asking, b.published = false, false, false, 0
	for _, j := range b.jobs {
		j.message, j.sure = 0, false
	}
}

func (b *Jobs) tick(in control.In, emit func(control.Out)) {
	switch in.Token {
	case timerAnswer:
		if !b.waiting {
			return
		}
		if j := b.queue[0]; b.asking && j.attempt <= 2 {
			Log(emit, "job %s: the cloud does not say whether it waits for the end: asked again", Redact(j.ID, 240))
		}
		b.send(in.Now, emit)
	case timerAgain:
		for _, j := range slices.Clone(b.jobs) {
			if j.again {
				b.enqueue(in.Now, j, emit)
			}
		}
	}
}

// Token gives a number that no other output has.
func (b *Jobs) Token() uint64 {
	b.next++
	return b.next - 1
}

// Find gives the newest attempt of a [Key], nil if there is none. An attempt
// begins after the end of the one before, so that it stands behind it.
func (b *Jobs) Find(key string) *Job {
	for _, j := range slices.Backward(b.jobs) {
		if j.key() == key {
			return j
		}
	}
	return nil
}

// Running gives the job that a run carries out, nil if it is of none.
func (b *Jobs) Running(run string) *Job {
	for _, j := range b.jobs {
		if j.Stage == Running && j.Run == run && run != "" {
			return j
		}
	}
	return nil
}

// Open says whether a module has a job whose end is not acknowledged.
func (b *Jobs) Open(module string) bool {
	return slices.ContainsFunc(b.jobs, func(j *Job) bool { return j.Stage != Told && j.Module() == module })
}

// Wish is what a message asks for.
type Wish struct {
	Key    string            // see [Key]
	Ask    string            // the message's id, "" for none
	Old    string            // version that runs now
	Inputs map[string]string // of the command
}

// Begin asks the engine for a job that is not known, or for a new attempt of one that
// has ended. held says that the message is to be acknowledged later, by the book.
func (b *Jobs) Begin(in control.In, w Wish, emit func(control.Out)) (held bool) {
	j := &Job{ID: w.Key, Old: w.Old}
	b.pass(in.Now, j.Module(), emit)
	if b.open() >= maxOpen { // it is not acknowledged, and comes again with the next connection
		Log(emit, "job %s waits: %d jobs have no acknowledged end yet", Redact(w.Key, 240), b.open())
		return true
	}
	began := url.QueryEscape(w.Ask)
	if began == "" {
		began = "t" + strconv.FormatInt(in.Now.Unix(), 10)
	}
	j.ID += ":" + began
	if last := b.Find(w.Key); last != nil {
		j.Asks = slices.Clone(last.Asks)
		last.again = false // its end would be taken for that of the new attempt
	}
	b.jobs = append(b.jobs, j)
	b.command(in, j, w, emit)
	return true
}

// Again takes a message that asks for a job which is not told yet. Only a job
// that a restart came between asks the engine again: the same id is the same run.
func (b *Jobs) Again(in control.In, j *Job, w Wish, emit func(control.Out)) (held bool) {
	if j.Stage != Ended || j.Ending.State != engine.Succeeded { // a success has answered whoever asks while it lasts, and nobody after it
		j.noteAsk(w.Ask)
	}
	switch {
	case j.Stage == Running && j.restored:
		b.command(in, j, w, emit)
		return true
	case j.Stage == Asked && j.message == 0: // the first message went with its connection
		j.message = in.Message
		return true
	}
	return false
}

func (b *Jobs) command(in control.In, j *Job, w Wish, emit func(control.Out)) {
	j.noteAsk(w.Ask)
	j.Stage, j.ask, j.message = Asked, b.Token(), in.Message
	emit(control.Out{Kind: control.OutCommand, Token: j.ask, Command: control.Command{ID: j.ID, Name: "update", Inputs: w.Inputs}})
}

// receipt takes the engine's answer to a command. Now the message may go.
func (b *Jobs) receipt(in control.In, emit func(control.Out)) {
	i := slices.IndexFunc(b.jobs, func(j *Job) bool { return j.ask == in.Token && in.Token != 0 })
	if i < 0 {
		return
	}
	j := b.jobs[i]
	j.ask = 0
	if j.message != 0 {
		emit(control.Out{Kind: control.OutHandled, Message: j.message})
		j.message = 0
	}
	if j.Stage != Asked { // its report came first
		return
	}
	anew := !j.restored
	j.restored = false
	if why := refusal(in); why != nil {
		Log(emit, "job %s: refused: %s", Redact(j.ID, 240), Redact(why.Error(), maxReason))
		if !b.cloud.Refused(j, why, emit) {
			b.jobs = slices.Delete(b.jobs, i, i+1)
			return
		}
		code := ""
		if errors.Is(why, ErrBusy) {
			code = ErrBusy.Error()
		}
		j.Ending = &Ending{State: engine.RefusedEnd, Code: code, Text: Redact(why.Error(), maxReason)}
		b.cloud.Ended(j)
		b.enqueue(in.Now, j, emit)
		return
	}
	j.Stage, j.Run = Running, in.Receipt.Run
	b.cloud.Taken(j, anew, emit)
}

// refusal gives nil if the engine took the command.
func refusal(in control.In) error {
	switch {
	case in.Refusal == "" && in.Receipt.Answer == engine.Busy, in.Refusal == ErrBusy.Error():
		return fmt.Errorf("%w: another update runs", ErrBusy)
	case in.Refusal != "":
		return errors.New(in.Refusal)
	}
	return nil
}

// tidy forgets the oldest told jobs.
func (b *Jobs) tidy() {
	count := 0
	for i := len(b.jobs) - 1; i >= 0; i-- {
		if b.jobs[i].Stage != Told {
			continue
		}
		if count++; count > maxTold {
			b.jobs = slices.Delete(b.jobs, i, i+1)
		}
	}
}

func (b *Jobs) open() int {
	n := 0
	for _, j := range b.jobs {
		if j.Stage != Told {
			n++
		}
	}
	return n
}

// Log emits a line for people. What stands in it must be redacted.
func Log(emit func(control.Out), format string, args ...any) {
	emit(control.Out{Kind: control.OutLog, Text: fmt.Sprintf(format, args...)})
}
