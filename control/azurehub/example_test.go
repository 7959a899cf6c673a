package azurehub_test

import (
	"fmt"
	"log"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/engine"
)

// A dialect is told what happens, and says what is to be done.
func Example() {
	d, err := azurehub.New(azurehub.Config{Device: "gw-1", Shape: azurehub.IoTHubDM}, nil)
	if err != nil {
		log.Fatal(err)
	}
	step := func(in control.In) (outs []control.Out) {
		in.Now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		d.Step(in, func(o control.Out) { outs = append(outs, o) })
		return outs
	}
	for _, o := range step(control.In{Kind: control.InConnected})[:4] {
		fmt.Println(o.Kind, o.Topic)
	}
	call := []byte(`{"fwPackageUri": "https://files.example/v2.img"}`)
	command := step(control.In{Kind: control.InMessage, Topic: "$iothub/methods/POST/firmwareUpdate/?$rid=7", Message: 1, Payload: call})[0]
	fmt.Println(command.Kind, command.Command.ID, command.Command.Inputs["url"])
	for _, o := range step(control.In{Kind: control.InReceipt, Token: command.Token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}})[:2] {
		fmt.Println(o.Kind, o.Topic, string(o.Payload))
	}
	// Output:
	// subscribe $iothub/methods/POST/#
	// subscribe $iothub/twin/res/#
	// subscribe $iothub/twin/PATCH/properties/desired/#
	// publish $iothub/twin/GET/?$rid=1
	// command 20260101T000000Z-1 https://files.example/v2.img
	// publish $iothub/methods/res/200/?$rid=7 {"Response":"Firmware update started"}
	// publish $iothub/twin/PATCH/properties/reported/?$rid=2 {"iothubDM":{"firmwareUpdate":{"downloadCompleteTime":null,"error":null,"fwPackageUri":"https://files.example/v2.img","lastFirmwareUpdate":null,"startedApplyingImage":null,"startedWaitingTime":"2026-01-01T00:00:00Z","status":"waiting"}}}
}

// A CONNECT says who the device is, and until when it is to be believed.
func ExampleIdentity_Login() {
	who := azurehub.Identity{Host: "contoso.azure-devices.net", Device: "MyDevice01", Life: time.Hour}
	key := "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" // from a file, in real life
	l, err := who.Login(key, time.Unix(1700000000, 0))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.ClientID)
	fmt.Println(l.User)
	fmt.Println(l.Password)
	fmt.Println("again at", l.Renew.UTC().Format(time.TimeOnly))
	// Output:
	// MyDevice01
	// contoso.azure-devices.net/MyDevice01/?api-version=2021-04-12
	// SharedAccessSignature sr=contoso.azure-devices.net%2Fdevices%2FMyDevice01&sig=rjGA6yCuNrZmb0jOd40nqLPF%2BXnuT7%2BnjApIgaxwpy0%3D&se=1700003600
	// again at 23:01:20
}
