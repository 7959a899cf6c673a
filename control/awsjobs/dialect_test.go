package awsjobs_test

import (
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/controltest"
)

func made(t testing.TB) controltest.New {
	return func(save []byte, config map[string]string) control.Dialect {
		c, err := awsjobs.Settings(config)
		if err != nil {
			t.Fatal(err)
		}
		d, err := awsjobs.New(c, save)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConversations(t *testing.T) { controltest.Run(t, made(t), "testdata") }

// named puts a job's name where a subscription has a wildcard, since messages
// come on topics without one, and most messages on the topic that they are made for.
type named struct{ control.Dialect }

func (n named) Step(in control.In, emit func(control.Out)) {
	if in.Kind == control.InMessage && len(in.Payload)%8 != 0 {
		text, jobs := string(in.Payload), "$aws/things/gw-1/jobs/"
		switch {
		case strings.Contains(text, `"code"`):
			in.Topic = jobs + "j-17/update/rejected"
		case strings.Contains(text, `"executionState"`):
			in.Topic = jobs + "j-17/update/accepted"
		case strings.Contains(text, `"QUEUED"`) && len(text)%2 == 0:
			in.Topic = jobs + "$next/get/accepted"
		case strings.Contains(text, `"status"`):
			in.Topic = jobs + "j-17/get/accepted"
		}
	}
	in.Topic = strings.ReplaceAll(in.Topic, "/+/", "/j-17/")
	n.Dialect.Step(in, emit)
}

func FuzzConversation(f *testing.F) {
	config := map[string]string{"device": "gw-1", "progress": "2s", "stepTimeout": "5m"}
	make := made(f)
	controltest.Fuzz(f, func(save []byte, config map[string]string) control.Dialect { return named{make(save, config)} }, config, "testdata")
}
