package controltest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// parrot is a dialect that answers each input with each output that a file
// can name. Flaws are switched on by the config.
type parrot struct {
	config map[string]string
	heard  int
	kept   []byte
	token  uint64
}

func newParrot(save []byte, config map[string]string) control.Dialect {
	p := &parrot{config: config, token: 40}
	if json.Unmarshal(save, &p.heard) != nil {
		p.heard = 0
	}
	if config["flaw"] == "save" && len(save) > 0 {
		p.heard++
	}
	return p
}

func (p *parrot) Save() []byte {
	if p.config["flaw"] == "long" {
		return []byte(`"` + strings.Repeat("x", control.MaxSave) + `"`)
	}
	return fmt.Append(nil, p.heard)
}

// plays counts over all parrots: the flaw of the dialect that is not a function of its inputs.
var plays int

func (p *parrot) Step(in control.In, emit func(control.Out)) {
	p.heard++
	p.token++
	switch in.Kind {
	case control.InConnected:
		emit(control.Out{Kind: control.OutSubscribe, Topic: p.config["topic"], QoS: 1})
		if p.config["flaw"] == "chance" {
			plays++
			emit(control.Out{Kind: control.OutTimer, Token: 1, After: time.Duration(plays) * time.Hour})
		}
	case control.InMessage:
		payload := in.Payload
		if p.config["flaw"] == "keep" {
			if p.kept != nil {
				payload = p.kept
			}
			p.kept = in.Payload
		}
		emit(control.Out{Kind: control.OutPublish, Topic: in.Topic, Payload: append([]byte(nil), payload...), QoS: in.QoS, Token: p.token})
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
		emit(control.Out{Kind: control.OutCommand, Token: p.token + 100, Command: control.Command{ID: "job 1", Name: "update", Inputs: map[string]string{"url": "u"}}})
	case control.InReceipt:
		emit(control.Out{Kind: control.OutLog, Text: fmt.Sprint(in.Token, " ", in.Receipt.Answer, " ", in.Receipt.Run, " ", in.Refusal)})
		emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: "job 1"}})
	case control.InEvent:
		emit(control.Out{Kind: control.OutLog, Text: fmt.Sprint(in.Event.Kind, in.Event.Done, in.Event.Total)})
	case control.InReport:
		emit(control.Out{Kind: control.OutDelivered, Report: in.Report.ID})
	case control.InPublished, control.InTick:
		emit(control.Out{Kind: control.OutTimer, Token: in.Token, After: 90 * time.Second})
	case control.InLost:
		emit(control.Out{Kind: control.OutRequest, Method: "GET", URL: "http://h/a", Token: p.token, Max: 4096, Header: map[string]string{"Accept": "a b"}})
	case control.InResponse:
		emit(control.Out{Kind: control.OutLog, Text: fmt.Sprintf("%d %s %s %q", in.Status, in.Err, in.Header["Etag"], in.Payload)})
	}
}

func TestConversations(t *testing.T) { Run(t, newParrot, "testdata") }

func FuzzParrot(f *testing.F) {
	Fuzz(f, newParrot, map[string]string{"topic": "in"}, "testdata")
}

func TestDifferencesAreFound(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"an output too few", "0s -> connected\n<- subscribe in qos=1\n<- handled #1", "5: output missing, line 7\n got nothing more\nwant <- handled #1\nall that came out at line 5:\n   <- subscribe in qos=1"},
		{"an output too many", "0s -> connected\n0s -> lost\n<- handled #1", "5: unexpected output\n got <- subscribe in qos=1\nwant nothing more"},
		{"another topic", "0s -> connected\n<- subscribe out qos=1", "got <- subscribe in qos=1\nwant <- subscribe out qos=1"},
		{"another QoS", "0s -> connected\n<- subscribe in qos=0", "got <- subscribe in qos=1\nwant <- subscribe in qos=0"},
		{"another payload", "0s -> message in #1\n {\"a\": 1}\n<- publish in qos=1 token=a\n {\"a\": 2}", "payload differs, line 7: publish in qos=1 token=a\n got {\"a\":1}\nwant {\"a\":2}"},
		{"a payload too few", "0s -> message in #1\n {\"a\": 1}\n<- publish in qos=1 token=a", " got {\"a\":1}\nwant "},
		{"a word for two tokens", "0s -> message in #1\n x\n<- publish in qos=1 token=a\n x\n<- handled #1\n<- command update \"job 1\" token=a\n {\"url\": \"u\"}", "got <- command update \"job 1\" token=141\nwant <- command update \"job 1\" token=a"},
		{"another token", "0s -> message in #1\n x\n<- publish in qos=1 token=7\n x", "got <- publish in qos=1 token=41\nwant <- publish in qos=1 token=7"},
		{"another time", "0s -> tick 3\n<- timer 3 after=1m29s", "got <- timer 3 after=1m30s\nwant <- timer 3 after=1m29s"},
		{"another state", "0s -> tick 3\n<- timer 3 after=1m30s\nstate 2", "7: state differs\n got 1\nwant 2"},
		{"a token that never came", "0s -> tick a\n<- handled #1", `no token "a" has come out yet`},
		{"a secret in a log line", "secret 41 n\n0s -> receipt 41 new\n<- handled #1", `the secret "41 n" comes out where people read it: log "41 new  "`},
		{"what Save gives is not what New takes", "config flaw=save\n0s -> tick 3\n<- timer 3 after=1m30s", "saves something else\n got 2\nwant 1"},
		{"Save gives too much", "config flaw=long\n0s -> tick 3\n<- timer 3 after=1m30s", "the limit is 65536"},
		{"a payload is kept", "config flaw=keep\n0s -> message in #1\n x\n<- publish in qos=1 token=a\n x\n<- handled #1\n<- command update \"job 1\" token=b\n {\"url\": \"u\"}\n0s -> message in #2\n y\n<- publish in qos=1 token=c\n x", "got \x00\nwant x"},
		{"config too late", "0s -> connected\n<- subscribe in qos=1\nconfig topic=b", "config must stand before the first input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines, err := parse("# x\n\n\nconfig topic=in\n" + tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = play(newParrot, lines); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestChanceIsFound(t *testing.T) {
	lines, err := parse("# x\nconfig flaw=chance topic=in\n0s -> connected\n<- subscribe in qos=1\n<- timer a after=1h0m0s")
	if err != nil {
		t.Fatal(err)
	}
	plays = 0
	if _, err := play(newParrot, lines); err != nil {
		t.Fatal(err)
	}
	if _, err := play(newParrot, lines); err == nil || !strings.Contains(err.Error(), "after=2h0m0s") {
		t.Errorf("error = %v, want one of the other time", err)
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no idea", "0s -> lost\n<- handled #1", "1: the first line must be a comment"},
		{"nothing expected", "# x\n0s -> lost", "the conversation could not fail"},
		{"an output first", "# x\n<- handled #1", "2: <- follows no input"},
		{"an output after a state", "# x\n0s -> lost\nstate {}\n<- handled #1", "4: <- follows no input"},
		{"time goes back", "# x\n2s -> lost\n<- handled #1\n1s -> lost", "4: time goes back from 2s to 1s"},
		{"no time", "# x\n-> lost\n<- handled #1", `2: expected a time and ->`},
		{"a word nobody knows", "# x\nwait 5s\n<- handled #1", `2: expected a time and ->`},
		{"nothing after the arrow", "# x\n0s ->\n<- handled #1", `2: nothing after "0s"`},
		{"an open quote", "# x\n0s -> receipt 1 new \"x\n<- handled #1", `misplaced quote`},
		{"a state without JSON", "# x\n0s -> lost\n<- handled #1\nstate", "4: state needs JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parse(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestBadInputsAreRefused(t *testing.T) {
	for _, tt := range []struct{ row, want string }{
		{"explode", `unknown input "explode"`},
		{"connected sesion", `unknown word "sesion"`},
		{"message in", "needs 2 words"},
		{"message in #x", "number of the message"},
		{"message in #1 fill=many", `"many" is no number`},
		{"receipt 1 maybe", `unknown answer "maybe"`},
		{"event kind=progress done=much", "done"},
		{"report", "EOF"},
		{"response 1 status=fine", "status"},
		{"tick", "needs 1 words"},
	} {
		t.Run(tt.row, func(t *testing.T) {
			lines, err := parse("# x\n0s -> " + tt.row + "\n<- handled #1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := play(newParrot, lines); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ a, b string }{
		{`{"a": 1, "b": [1.50, true]}`, ` { "b":[15e-1,true],"a":1.0}`},
		{`9007199254740993`, `9007199254740993`},
		{`1e400`, `1e400`},
		{"jobID:j-17 SUCCESS", "jobID:j-17 SUCCESS"},
	} {
		if a, b := canonical([]byte(tt.a)), canonical([]byte(tt.b)); a != b {
			t.Errorf("%s is %s, %s is %s, want the same", tt.a, a, tt.b, b)
		}
	}
	for _, tt := range []struct{ a, b string }{
		{`1`, `"1"`}, {`9007199254740993`, `9007199254740992`}, {`{"a":null}`, `{}`}, {`{} {}`, `{}`}, {`[1,2]`, `[2,1]`},
	} {
		if a, b := canonical([]byte(tt.a)), canonical([]byte(tt.b)); a == b {
			t.Errorf("%s and %s are both %s", tt.a, tt.b, a)
		}
	}
}
