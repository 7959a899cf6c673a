package aliyunota_test

import (
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/engine"
)

// A dialect is told what happens, and says what is to be done.
func Example() {
	d, err := aliyunota.New(aliyunota.Config{Device: aliyun.Device{ProductKey: "a1B2c3", Name: "gw-1"}, Versions: map[string]string{"default": "1.0.0"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	step := func(in control.In) (outs []control.Out) {
		d.Step(in, func(o control.Out) { outs = append(outs, o) })
		return outs
	}
	for _, o := range step(control.In{Kind: control.InConnected}) {
		fmt.Printf("%s %s%s\n", o.Kind, o.Topic, o.Payload)
	}
	upgrade := []byte(`{"code": "1000", "id": 77, "data": {"version": "2.0.0", "url": "https://files.example/v2.img", "size": 100}}`)
	for _, o := range step(control.In{Kind: control.InMessage, Topic: "/ota/device/upgrade/a1B2c3/gw-1", Message: 1, Payload: upgrade}) {
		fmt.Println(o.Kind, o.Command.ID, o.Command.Inputs["url"])
		for _, o := range step(control.In{Kind: control.InReceipt, Token: o.Token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}}) {
			if o.Kind == control.OutPublish {
				fmt.Printf("%s %s%s\n", o.Kind, o.Topic, o.Payload)
			}
		}
	}
	for _, o := range step(control.In{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Run: "run-1", Command: "default:2.0.0:f9487b772393:77", State: engine.Succeeded}}) {
		if o.Kind == control.OutPublish {
			fmt.Printf("%s %s%s\n", o.Kind, o.Topic, o.Payload)
		}
	}
	// Output:
	// subscribe /ota/device/upgrade/a1B2c3/gw-1
	// subscribe /sys/a1B2c3/gw-1/thing/ota/firmware/get_reply
	// publish /ota/device/inform/a1B2c3/gw-1{"id":"1","params":{"version":"1.0.0"}}
	// command default:2.0.0:f9487b772393:77 https://files.example/v2.img
	// publish /ota/device/progress/a1B2c3/gw-1{"id":"2","params":{"desc":"accepted","step":"0"}}
	// publish /ota/device/inform/a1B2c3/gw-1{"id":"3","params":{"version":"2.0.0"}}
}
