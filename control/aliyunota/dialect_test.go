package aliyunota_test

import (
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/control/controltest"
)

func made(t testing.TB) controltest.New {
	return func(save []byte, config map[string]string) control.Dialect {
		c, err := aliyunota.Settings(config)
		if err != nil {
			t.Fatal(err)
		}
		d, err := aliyunota.New(c, save)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConversations(t *testing.T) { controltest.Run(t, made(t), "testdata") }

func FuzzConversation(f *testing.F) {
	controltest.Fuzz(f, made(f), config, "testdata")
}

var config = map[string]string{"device": "a1B2c3.gw-1", "version": "1.0.0 MCU=0.9"}
