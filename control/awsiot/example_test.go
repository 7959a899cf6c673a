package awsiot_test

import (
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/engine"
)

// A dialect is told what happens, and says what is to be done.
func Example() {
	d, err := awsiot.New(awsiot.Config{Device: "gw-1", Quiet: true}, nil)
	if err != nil {
		log.Fatal(err)
	}
	step := func(in control.In) (outs []control.Out) {
		d.Step(in, func(o control.Out) { outs = append(outs, o) })
		return outs
	}
	for _, o := range step(control.In{Kind: control.InConnected}) {
		fmt.Println(o.Kind, o.Topic)
	}
	delta := []byte(`{"state": {"softwareURL": "https://files.example/v2.img", "jobID": "j-17"}, "version": 5}`)
	for _, o := range step(control.In{Kind: control.InMessage, Topic: "state/gw-1/update/delta", Message: 1, Payload: delta}) {
		fmt.Println(o.Kind, o.Command.ID, o.Command.Inputs["url"])
		for _, o := range step(control.In{Kind: control.InReceipt, Token: o.Token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}}) {
			fmt.Println(o.Kind, "message", o.Message)
		}
	}
	fmt.Println(string(d.Save()))
	// Output:
	// subscribe state/gw-1/update/delta
	// subscribe state/gw-1/update/accepted
	// subscribe state/gw-1/update/rejected
	// command j-17 https://files.example/v2.img
	// handled message 1
	// {"seen":5,"jobs":[{"id":"j-17","url":"https://files.example/v2.img","stage":"running","run":"run-1"}]}
}
