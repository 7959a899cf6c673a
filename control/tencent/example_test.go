package tencent_test

import (
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/tencent"
	"github.com/updraft-ota/updraft/engine"
)

// A dialect is told what happens, and says what is to be done.
func Example() {
	d, err := tencent.New(tencent.Config{Product: "PRODUCT001", Device: "gw-1", Version: "0.1"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	var asked control.Out
	step := func(in control.In) {
		d.Step(in, func(o control.Out) {
			switch o.Kind {
			case control.OutPublish:
				fmt.Println("publish", string(o.Payload))
			case control.OutCommand:
				asked = o
				fmt.Println("command", o.Command.ID, o.Command.Inputs["url"])
			}
		})
	}
	step(control.In{Kind: control.InConnected})
	step(control.In{Kind: control.InMessage, Topic: "$ota/update/PRODUCT001/gw-1", Message: 1,
		Payload: []byte(`{"type": "update_firmware", "version": "0.2", "url": "https://files.example/v2.bin"}`)})
	step(control.In{Kind: control.InReceipt, Token: asked.Token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}})
	step(control.In{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Run: "run-1", Command: asked.Command.ID, State: engine.Succeeded}})
	// Output:
	// publish {"type":"report_version","report":{"version":"0.1"}}
	// command 0.2#1 https://files.example/v2.bin
	// publish {"type":"report_progress","report":{"progress":{"state":"downloading","percent":"0","result_code":"0","result_msg":""},"version":"0.2"}}
	// publish {"type":"report_progress","report":{"progress":{"state":"downloading","percent":"100","result_code":"0","result_msg":""},"version":"0.2"}}
	// publish {"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":""},"version":"0.2"}}
}
