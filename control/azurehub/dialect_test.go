package azurehub_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/controltest"
)

func made(t testing.TB) controltest.New {
	return func(save []byte, config map[string]string) control.Dialect {
		c, err := azurehub.Settings(config)
		if err != nil {
			t.Fatal(err)
		}
		d, err := azurehub.New(c, save)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConversations(t *testing.T) { controltest.Run(t, made(t), "testdata") }

// hub gives the messages of a fuzzer topics that a hub would send them on: the
// topics that are subscribed to are filters.
type hub struct {
	control.Dialect
	request string // id of the last request
	version int
}

func (h *hub) Step(in control.In, emit func(control.Out)) {
	if in.Kind == control.InMessage && strings.HasSuffix(in.Topic, "#") {
		in.Topic = h.topic(in)
	}
	h.Dialect.Step(in, func(o control.Out) {
		if _, id, ok := strings.Cut(o.Topic, "/?$rid="); ok && strings.HasPrefix(o.Topic, "$iothub/twin/") {
			h.request = id
		}
		emit(o)
	})
}

func (h *hub) topic(in control.In) string {
	at := strings.TrimSuffix(in.Topic, "#")
	switch {
	case strings.Contains(at, "/methods/"):
		return fmt.Sprintf("%sfirmwareUpdate/?$rid=%d", at, in.Message/2)
	case strings.Contains(at, "/res/"):
		return fmt.Sprintf("%s%d/?$rid=%s", at, []int{200, 200, 200, 204, 429, 500, 400}[in.Message%7], h.request)
	}
	h.version++
	return fmt.Sprintf("%s?$version=%d", at, h.version)
}

func fuzz(f *testing.F, config map[string]string) {
	f.Add(conversation())
	make := made(f)
	controltest.Fuzz(f, func(save []byte, config map[string]string) control.Dialect {
		return &hub{Dialect: make(save, config)}
	}, config, "testdata")
}

// conversation has the fuzzer begin where an update goes through: three bytes
// for kind, seconds and choice, then a text with its length.
func conversation() []byte {
	var b []byte
	add := func(kind, choice byte, text string) {
		b = append(b, kind, 1, choice, byte(len(text)), byte(len(text)>>8))
		b = append(b, text...)
	}
	const connected, message, receipt, event, report = 0, 2, 5, 6, 7
	add(connected, 0, "")
	add(message, 2, `{"firmware": {"fwVersion": "2.0", "fwPackageURI": "https://files.example/v2"}, "$version": 1}`)
	add(message, 1, `{"desired": {"firmware": {"fwVersion": "2.0", "fwPackageURI": "https://files.example/v2"}, "$version": 1}, "reported": {"$version": 1}}`)
	add(message, 0, `{"fwPackageUri": "https://files.example/v2"}`)
	add(receipt, 0, "")
	add(event, 1, "write")
	add(report, 0, `{"state": "succeeded", "release": {"version": "2.0"}}`)
	add(message, 1, "")
	add(message, 1, "")
	return b
}

func FuzzConversation(f *testing.F) {
	fuzz(f, map[string]string{"device": "gw-1", "shape": "firmware", "progress": "2s"})
}

func FuzzCalls(f *testing.F) {
	fuzz(f, map[string]string{"device": "gw-1", "shape": "iothubDM", "scheme": "https"})
}

func FuzzFlat(f *testing.F) {
	fuzz(f, map[string]string{"device": "gw-1", "sample": "true"})
}
