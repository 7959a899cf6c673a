package controltest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/controltest"
)

// greeter is a dialect that subscribes to one topic and takes what comes.
type greeter struct{ topic string }

func newGreeter(_ []byte, config map[string]string) control.Dialect {
	return greeter{config["topic"]}
}

func (g greeter) Step(in control.In, emit func(control.Out)) {
	switch in.Kind {
	case control.InConnected:
		emit(control.Out{Kind: control.OutSubscribe, Topic: g.topic, QoS: 1})
	case control.InMessage:
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
	}
}

func (greeter) Save() []byte { return nil }

// conversation is a file of the folder that Run is given.
const conversation = `# What comes is taken, whatever it says.
config topic=to/gw-1

0s -> connected
   <- subscribe to/gw-1 qos=1
2s -> message to/gw-1 #1 qos=1
      hello
   <- handled #1
`

func TestGreeter(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte(conversation), 0o600); err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, newGreeter, dir)
}

// The whole test of a dialect, in the package that has it: its conversations
// are the text files in testdata.
func ExampleRun() {
	var _ = func(t *testing.T) { controltest.Run(t, newGreeter, "testdata") } // func TestConversations(t *testing.T)
}
