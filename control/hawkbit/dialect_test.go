package hawkbit_test

import (
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/controltest"
	"github.com/updraft-ota/updraft/control/hawkbit"
)

func made(t testing.TB) controltest.New {
	return func(save []byte, config map[string]string) control.Dialect {
		c, err := hawkbit.Settings(config)
		if err != nil {
			t.Fatal(err)
		}
		d, err := hawkbit.New(c, save)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConversations(t *testing.T) { controltest.Run(t, made(t), "testdata") }

func FuzzConversation(f *testing.F) {
	config := map[string]string{"url": "https://hawkbit.example", "device": "gw-1", "progress": "10s", "downloads": "true", "confirm": "true"}
	controltest.Fuzz(f, made(f), config, "testdata")
}
