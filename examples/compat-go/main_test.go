package main

import (
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

func TestCompat(t *testing.T) {
	for _, tt := range []struct {
		name, settings string
		facts          map[string]string
		want           abi.Class
	}{
		{"one of them", `{"models": ["gw-100", "gw-200"]}`, map[string]string{"model": "gw-200"}, abi.OK},
		{"another one", `{"models": ["gw-100"]}`, map[string]string{"model": "gw-200"}, abi.Incompatible},
		{"no models", `{}`, map[string]string{"model": "gw-200"}, abi.Incompatible},
		{"no fact", `{"models": ["gw-100"]}`, nil, abi.Incompatible},
		{"settings of another type", `{"models": 1}`, map[string]string{"model": "gw-200"}, abi.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := updraft.Double{Facts: tt.facts, Settings: tt.settings}
			if class, err := d.Call(updraft.Phases{Compat: compat}, abi.Compat); class != tt.want {
				t.Errorf("class = %d, want %d; %v", class, tt.want, err)
			}
		})
	}
}
