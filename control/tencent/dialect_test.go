package tencent_test

import (
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/controltest"
	"github.com/updraft-ota/updraft/control/tencent"
)

func made(t testing.TB) controltest.New {
	return func(save []byte, config map[string]string) control.Dialect {
		c, err := tencent.Settings(config)
		if err != nil {
			t.Fatal(err)
		}
		d, err := tencent.New(c, save)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestConversations(t *testing.T) { controltest.Run(t, made(t), "testdata") }

func FuzzConversation(f *testing.F) {
	config := map[string]string{"product": "PRODUCT001", "device": "gw-1", "version": "0.1"}
	controltest.Fuzz(f, made(f), config, "testdata")
}
