package awsiot_test

import (
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/control/controltest"
)

func made(t testing.TB) controltest.New {
	return func(save []byte, config map[string]string) control.Dialect {
		c, err := awsiot.Settings(config)
		if err != nil {
			t.Fatal(err)
		}
		d, err := awsiot.New(c, save)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConversations(t *testing.T) { controltest.Run(t, made(t), "testdata") }

func FuzzShadow(f *testing.F) {
	config := map[string]string{"device": "gw-1", "shadow": "classic"}
	controltest.Fuzz(f, made(f), config, "testdata")
}

func FuzzConversation(f *testing.F) {
	config := map[string]string{"device": "gw-1", "progress": "2s"}
	controltest.Fuzz(f, made(f), config, "testdata")
}
