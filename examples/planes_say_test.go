package examples_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// said is one thing that a conversation of control/…/testdata says to a device.
type said struct {
	words   []string // what stands behind the arrow
	payload string
}

var (
	arrow = regexp.MustCompile(`^\S+ -> (.+)$`)
	word  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[^ "]+(?:"[^"]*")?`)
)

// conversation reads what a file says to the device. What the device answers
// there is another test's to compare.
func conversation(t *testing.T, file string) (config map[string]string, all []said) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, last := map[string]string{}, (*said)(nil)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		rest, isConfig := strings.CutPrefix(line, "config ")
		in := arrow.FindStringSubmatch(line)
		switch {
		case isConfig:
			for _, pair := range strings.Fields(rest) {
				key, value, _ := strings.Cut(pair, "=")
				config[key] = value
			}
		case in != nil:
			all = append(all, said{words: word.FindAllString(in[1], -1)})
			last = &all[len(all)-1]
		case strings.HasPrefix(line, "      ") && last != nil:
			last.payload += line + "\n"
		default:
			last = nil
		}
	}
	return config, all
}

// ask says to a dialect what a conversation says, each payload changed first,
// and gives the command number n that comes of it.
func ask(t *testing.T, d control.Dialect, all []said, n int, change func(string) string) control.Command {
	t.Helper()
	var commands []control.Out
	var request uint64
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, s := range all {
		in := control.In{Now: now.Add(time.Duration(i) * time.Second), Kind: control.InKind(s.words[0]), Payload: []byte(change(s.payload))}
		switch in.Kind {
		case control.InMessage:
			in.Topic, in.Message, in.QoS = strings.Trim(s.words[1], `"`), uint64(i+1), 1
		case control.InResponse:
			in.Token, in.Status = request, 200
		case control.InReceipt:
			if len(commands) == 0 {
				t.Fatal("no command came of the messages before the receipt")
			}
			in.Token, in.Receipt = commands[len(commands)-1].Token, engine.Receipt{Answer: engine.Answer(s.words[2]), Run: "run-1"}
		case control.InReport:
			if err := json.Unmarshal(in.Payload, &in.Report); err != nil {
				t.Fatal(err)
			}
		}
		d.Step(in, func(o control.Out) {
			switch o.Kind {
			case control.OutCommand:
				commands = append(commands, o)
			case control.OutRequest:
				request = o.Token
			case control.OutLog:
				t.Log(o.Text)
			}
		})
		if len(commands) == n {
			return commands[n-1].Command
		}
	}
	t.Fatalf("%d commands came of %d messages, want %d", len(commands), len(all), n)
	return control.Command{}
}
