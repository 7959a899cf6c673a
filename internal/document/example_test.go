package document_test

import (
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/internal/document"
)

func ExampleLoad() {
	doc, err := document.Load("probe.yaml", []byte("hardware: 1.10\nevery: 5 minutes\ntargts: {}\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var probe struct {
		Hardware string            `yaml:"hardware,required"`
		Every    time.Duration     `yaml:"every"`
		Targets  map[string]string `yaml:"targets"`
	}
	err = doc.Decode(&probe)
	fmt.Println(probe.Hardware)
	fmt.Println(err)
	// Output:
	// 1.10
	// probe.yaml:2:8: E011 expected a duration such as 30s, 10m or 1h30m, found "5 minutes"
	//   every: 5 minutes
	//          ^~~~~~~~~
	// probe.yaml:3:1: E009 unknown key "targts", did you mean "targets"?
	//   targts: {}
	//   ^~~~~~
}
