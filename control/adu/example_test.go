package adu_test

import (
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu"
)

// A dialect is told what happens, and says what is to be done.
func Example() {
	d, err := adu.New(adu.Config{Device: "vacuum-1", Manufacturer: "contoso", Model: "virtual-vacuum-v1"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	show := func(o control.Out) {
		switch o.Kind {
		case control.OutSubscribe, control.OutPublish:
			fmt.Println(o.Kind, o.Topic)
		case control.OutLog:
			fmt.Println(o.Kind, o.Text)
		}
	}
	d.Step(control.In{Kind: control.InConnected}, show)
	d.Step(control.In{Kind: control.InMessage, Message: 1, Topic: "$iothub/twin/res/200/?$rid=2",
		Payload: []byte(`{"desired": {"deviceUpdate": {"service": {"workflow": {"action": 3, "id": "d-1"}, "updateManifest": "{}"}}, "$version": 7}}`)}, show)
	// Output:
	// subscribe $iothub/twin/res/#
	// subscribe $iothub/twin/PATCH/properties/desired/#
	// publish $iothub/twin/PATCH/properties/reported/?$rid=1
	// publish $iothub/twin/GET/?$rid=2
	// publish $iothub/twin/PATCH/properties/reported/?$rid=3
	// log deployment d-1: ManifestValidationFailed: the deployment has no updateManifestSignature
	// publish $iothub/twin/PATCH/properties/reported/?$rid=4
	// publish $iothub/twin/PATCH/properties/reported/?$rid=5
}
