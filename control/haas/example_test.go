package haas_test

import (
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/haas"
	"github.com/updraft-ota/updraft/engine"
)

// A dialect is told what happens, and says what is to be done.
func Example() {
	d, err := haas.New(haas.Config{Device: aliyun.Device{ProductKey: "a1B2c3", Name: "gw-1"}, App: "8800100099990000"}, nil)
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
	push := []byte(`{"id": "7", "params": {"errorCode": "200", "app": [{"appId": "8800100099990000", "version": "0.0.2", "url": "https://files.example/app.tar.gz"}]}}`)
	for _, o := range step(control.In{Kind: control.InMessage, Topic: "/sys/a1B2c3/gw-1/thing/service/hli_service_upgrade_push", Message: 1, Payload: push}) {
		fmt.Println(o.Kind, o.Command.ID, o.Command.Inputs["url"])
		for _, o := range step(control.In{Kind: control.InReceipt, Token: o.Token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}}) {
			if o.Kind == control.OutPublish {
				fmt.Println(o.Kind, string(o.Payload))
			}
		}
	}
	fmt.Println(string(d.Save()))
	// Output:
	// subscribe /sys/a1B2c3/gw-1/thing/service/hli_service_upgrade_push
	// publish /sys/a1B2c3/gw-1/thing/event/hli_event_upgrade_query/post
	// command 8800100099990000:0.0.2:61676be4d9fc:7 https://files.example/app.tar.gz
	// publish {"code":200,"data":{},"id":"7"}
	// {"version":"0.0.1","jobs":[{"id":"8800100099990000:0.0.2:61676be4d9fc:7","asks":["7"],"old":"0.0.1","stage":"running","run":"run-1"}]}
}

// Versions compare as numbers.
func ExampleParseVersion() {
	old, _ := haas.ParseVersion("0.0.9")
	next, _ := haas.ParseVersion("0.0.10")
	_, err := haas.ParseVersion("0.1")
	fmt.Println(next.Compare(old), err)
	// Output: 1 is not three numbers such as 0.0.10
}
