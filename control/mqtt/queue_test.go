package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
)

func TestQueueKeepsWhatMatters(t *testing.T) {
	const event, report, message, connect = control.InEvent, control.InReport, control.InMessage, control.InConnected
	const token = control.InPublished // here: of a publish with a token, whatever its cause
	for _, tt := range []struct {
		name   string
		causes []control.InKind // in order, named 0, 1, …; the limit is three
		want   string           // what is left
		after  string           // and after a lost connection
	}{
		{"below the limit", []control.InKind{event, report, message}, "0 1 2", "0 2"},
		{"the oldest progress goes", []control.InKind{message, event, event, event}, "0 2 3", "0 2 3"},
		{"progress goes before answers", []control.InKind{message, message, message, event}, "0 1 2", "0 1 2"},
		{"then the oldest that is no report", []control.InKind{report, message, message, message}, "0 2 3", "2 3"},
		{"reports stay whatever the limit", []control.InKind{report, report, report, report, report}, "0 1 2 3 4", ""},
		{"what the dialect waits for stays, and comes again", []control.InKind{token, message, token, message, token}, "0 2 4", ""},
		{"what a connect asks for comes again", []control.InKind{connect, message}, "0 1", "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := queue{limit: 3}
			for i, cause := range tt.causes {
				next := &item{out: control.Out{Text: fmt.Sprint(i)}, cause: cause}
				if cause == token {
					next.out.Token = 1
				}
				q.push(next)
			}
			left := func() string {
				var names []string
				for _, i := range q.items {
					names = append(names, i.out.Text)
				}
				return strings.Join(names, " ")
			}
			if got := left(); got != tt.want {
				t.Errorf("left = %q, want %q", got, tt.want)
			}
			q.lost()
			if got := left(); got != tt.after {
				t.Errorf("after a lost connection = %q, want %q", got, tt.after)
			}
		})
	}
}

func TestMailboxIsBounded(t *testing.T) {
	m := newMailbox()
	post := func(kind control.InKind, text string) {
		in := control.In{Kind: kind}
		in.Event.Kind = "progress"
		if text == "end" {
			in.Event.Kind = "run"
		}
		m.post(in)
	}
	post(control.InReport, "")
	post(control.InEvent, "end")
	for range 1000 {
		post(control.InEvent, "")
	}
	items := m.take()
	if len(items) != maxPosted || items[0].Kind != control.InReport || items[1].Event.Kind != "run" {
		t.Errorf("%d items, the first %s and %s; want %d with the report and the end of the run", len(items), items[0].Kind, items[1].Event.Kind, maxPosted)
	}
	for range 1000 {
		post(control.InReport, "")
	}
	if n := len(m.take()); n != 1000 {
		t.Errorf("%d reports, want all of 1000", n)
	}
}
