package controltest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// Limits on what one step may emit.
const (
	maxOuts = 64
	maxText = 1 << 10   // bytes of a log line
	maxSent = 256 << 10 // bytes of all payloads
)

// Fuzz plays any sequence of inputs, restarts included, against a dialect. The
// conversations of the folder dir are where it starts. Nothing may panic, and
// each step's output must be bounded; messages are acknowledged once at most and only if they
// came, reports delivered only if they came, log lines are single lines, topics hold no
// wildcards, and a dialect made from what Save gives must save the same.
func Fuzz(f *testing.F, make New, config map[string]string, dir string) {
	f.Helper()
	for _, file := range conversations(f, dir) {
		f.Add(seed(read(f, file)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		z := &fuzzed{make: make, config: config, dialect: make(nil, config), now: begin}
		for n := 0; len(data) > 0 && n < 500; n++ {
			if err := z.step(&data); err != nil {
				t.Fatalf("step %d: %v", n, err)
			}
		}
	})
}

// ops are the inputs that a byte stands for.
var ops = []control.InKind{control.InConnected, control.InLost, control.InMessage, control.InResponse, control.InTick,
	control.InReceipt, control.InEvent, control.InReport, control.InPublished, "restart"}

// seed writes a conversation as bytes, which [fuzzed.input] reads.
func seed(lines []line) []byte {
	var b []byte
	text := func(s []byte) {
		b = binary.LittleEndian.AppendUint16(b, uint16(min(len(s), 4096)))
		b = append(b, s[:min(len(s), 4096)]...)
	}
	for _, l := range lines {
		switch {
		case l.verb == restart:
			b = append(b, byte(len(ops)-1), 1, 0)
		case l.verb == in:
			op := slices.Index(ops, control.InKind(l.words[0].key))
			topic := 0
			if len(l.words) > 1 {
				for i, end := range []string{"/delta", "/accepted", "/rejected"} {
					if strings.HasSuffix(l.words[1].key, end) {
						topic = i
					}
				}
			}
			b = append(b, byte(op), 1, byte(topic))
			text(l.payload)
		}
	}
	return b
}

// fuzzed is a dialect under fuzzing, and what it was given.
type fuzzed struct {
	make     New
	config   map[string]string
	dialect  control.Dialect
	now      time.Time
	messages uint64
	handled  []uint64
	reports  []string
	commands []string
	topics   []string
	tokens   []uint64
}

func (z *fuzzed) step(data *[]byte) error {
	i := z.input(data)
	if i.Kind == "restart" {
		z.dialect, z.tokens = z.make(bytes.Clone(z.dialect.Save()), z.config), nil
		return nil
	}
	var outs []control.Out
	z.dialect.Step(i, func(o control.Out) { outs = append(outs, o) })
	clear(i.Payload)
	sent := 0
	for _, o := range outs {
		if err := z.check(o); err != nil {
			return fmt.Errorf("%s: %w: %+v", i.Kind, err, o)
		}
		sent += len(o.Payload)
	}
	if len(outs) > maxOuts || sent > maxSent {
		return fmt.Errorf("%s: %d outputs of %d bytes, the limits are %d and %d", i.Kind, len(outs), sent, maxOuts, maxSent)
	}
	return (&player{make: z.make, config: z.config, dialect: z.dialect}).saves()
}

func (z *fuzzed) check(o control.Out) error {
	if o.Token != 0 {
		z.tokens = append(z.tokens[max(0, len(z.tokens)-15):], o.Token)
	}
	switch o.Kind {
	case control.OutSubscribe:
		z.topics = append(z.topics, o.Topic)
	case control.OutPublish:
		if strings.ContainsAny(o.Topic, "+#\x00") || o.Topic == "" {
			return fmt.Errorf("topic %q cannot be published to", o.Topic)
		}
	case control.OutCommand:
		z.commands = append(z.commands, o.Command.ID)
	case control.OutHandled:
		if o.Message == 0 || o.Message > z.messages || slices.Contains(z.handled, o.Message) {
			return fmt.Errorf("message %d did not come, or is acknowledged already", o.Message)
		}
		z.handled = append(z.handled, o.Message)
	case control.OutDelivered:
		if !slices.Contains(z.reports, o.Report) {
			return fmt.Errorf("report %q did not come", o.Report)
		}
	case control.OutTimer:
		if o.After < 0 {
			return fmt.Errorf("a timer in the past")
		}
	case control.OutLog:
		if len(o.Text) > maxText || strings.ContainsAny(o.Text, "\r\n") {
			return fmt.Errorf("a log line of %d bytes or of several lines", len(o.Text))
		}
	}
	return nil
}

// input reads three bytes (kind, seconds, choice) and a text with its length.
func (z *fuzzed) input(data *[]byte) control.In {
	var head [5]byte
	*data = (*data)[copy(head[:], *data):]
	n := min(int(binary.LittleEndian.Uint16(head[3:])), len(*data))
	text := bytes.Clone((*data)[:n])
	*data = (*data)[n:]
	choice := int(head[2])
	z.now = z.now.Add(time.Duration(int8(head[1])) * time.Second)
	i := control.In{Now: z.now, Kind: ops[int(head[0])%len(ops)], Session: choice&1 != 0}
	pick := func(from []string) string {
		if len(from) == 0 || choice >= 128 {
			return strings.Map(func(r rune) rune { return max(' ', r%127) }, string(text[:min(len(text), 64)]))
		}
		return from[choice%len(from)]
	}
	if len(z.tokens) > 0 {
		i.Token = z.tokens[len(z.tokens)-1-choice%len(z.tokens)]
	}
	switch i.Kind {
	case control.InMessage:
		z.messages++
		i.Topic, i.Payload, i.QoS, i.Message, i.Retained = pick(z.topics), text, 1, z.messages, choice == 127
	case control.InResponse:
		i.Payload, i.Status = text, 200+choice
	case control.InReceipt:
		i.Receipt = engine.Receipt{Answer: []engine.Answer{engine.Accepted, engine.Joined, engine.Busy}[choice%3], Run: fmt.Sprintf("run-%d", len(z.commands))}
		i.Refusal = string(text)
	case control.InEvent:
		i.Event = engine.Event{Kind: engine.EventProgress, Run: fmt.Sprintf("run-%d", choice%8), Step: string(text), Done: int64(choice), Total: 255}
	case control.InReport:
		i.Report = z.report(text, choice, pick(z.commands))
	}
	return i
}

// report keeps a run's and a report's id to the form that the engine gives them.
func (z *fuzzed) report(text []byte, choice int, command string) engine.Report {
	var r engine.Report
	if json.Unmarshal(text, &r) != nil {
		r = engine.Report{State: engine.RolledBack, Code: string(text), Step: string(text), Message: string(text)}
	}
	r.Run = fmt.Sprintf("run-%d", choice%8)
	r.ID, r.Command = r.Run+".0", command
	z.reports = append(z.reports, r.ID)
	return r
}
