package controltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// begin is when every conversation begins.
var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// input makes what a line with -> says. token gives the number of a word.
func input(l line, token func(string) (uint64, error)) (control.In, error) {
	i := control.In{Now: begin.Add(l.at), Kind: control.InKind(l.words[0].key), Payload: bytes.Clone(l.payload)}
	fill := map[control.InKind]func(*control.In, line, func(string) (uint64, error)) error{
		control.InConnected: connected, control.InLost: lost, control.InMessage: message, control.InReceipt: receipt,
		control.InEvent: event, control.InReport: report, control.InPublished: tokenOnly, control.InTick: tokenOnly, control.InResponse: response,
	}[i.Kind]
	if fill == nil {
		return i, fmt.Errorf("unknown input %q", i.Kind)
	}
	return i, fill(&i, l, token)
}

func connected(i *control.In, l line, _ func(string) (uint64, error)) error {
	f, err := fields(l.words, 1, "session")
	_, i.Session = f["session"]
	return err
}

func lost(_ *control.In, l line, _ func(string) (uint64, error)) error {
	_, err := fields(l.words, 1)
	return err
}

func message(i *control.In, l line, _ func(string) (uint64, error)) error {
	f, err := fields(l.words, 3, "qos", "retained", "fill", "bytes")
	if err != nil {
		return err
	}
	i.Topic = l.words[1].key
	if i.Message, err = strconv.ParseUint(strings.TrimPrefix(l.words[2].key, "#"), 10, 64); err != nil {
		return fmt.Errorf("number of the message: %w", err)
	}
	_, i.Retained = f["retained"]
	if i.QoS = 1; f["qos"] == "0" {
		i.QoS = 0
	}
	if text, ok := f["bytes"]; ok {
		i.Payload = []byte(text)
	}
	if n, ok := f["fill"]; ok {
		size, err := strconv.Atoi(n)
		if err != nil || size > 1<<30 {
			return fmt.Errorf("fill: %q is no number of bytes up to 1 GiB", n)
		}
		i.Payload = bytes.Repeat([]byte("x"), size)
	}
	return nil
}

func receipt(i *control.In, l line, token func(string) (uint64, error)) error {
	f, err := fields(l.words, 3, "run", "refusal")
	if err != nil {
		return err
	}
	i.Refusal = f["refusal"]
	i.Receipt = engine.Receipt{Answer: engine.Answer(l.words[2].key), Run: f["run"]}
	switch i.Receipt.Answer {
	case engine.Accepted, engine.Joined, engine.Busy:
	default:
		return fmt.Errorf("unknown answer %q (have new, joined, busy)", i.Receipt.Answer)
	}
	i.Token, err = token(l.words[1].key)
	return err
}

func event(i *control.In, l line, _ func(string) (uint64, error)) error {
	f, err := fields(l.words, 1, "run", "kind", "step", "state", "done", "total", "code", "text")
	if err != nil {
		return err
	}
	i.Event = engine.Event{Time: i.Now, Run: f["run"], Kind: engine.EventKind(f["kind"]), Step: f["step"], State: f["state"], Code: f["code"], Text: f["text"]}
	for key, to := range map[string]*int64{"done": &i.Event.Done, "total": &i.Event.Total} {
		if f[key] == "" {
			continue
		}
		if *to, err = strconv.ParseInt(f[key], 10, 64); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func report(i *control.In, l line, _ func(string) (uint64, error)) error {
	if _, err := fields(l.words, 1); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(i.Payload))
	d.DisallowUnknownFields()
	i.Payload = nil
	return d.Decode(&i.Report)
}

func tokenOnly(i *control.In, l line, token func(string) (uint64, error)) error {
	_, err := fields(l.words, 2)
	if err == nil {
		i.Token, err = token(l.words[1].key)
	}
	return err
}

func response(i *control.In, l line, token func(string) (uint64, error)) error {
	f, err := fields(l.words, 2, "status", "err", "header.")
	if err != nil {
		return err
	}
	i.Err, i.Header = f["err"], headers(f)
	if f["status"] != "" {
		if i.Status, err = strconv.Atoi(f["status"]); err != nil {
			return fmt.Errorf("status: %w", err)
		}
	}
	i.Token, err = token(l.words[1].key)
	return err
}
