package hub_test

import (
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
)

// A hub with one device, which is to have the firmware of a server elsewhere.
func Example() {
	cloud, err := hub.New(hub.Config{Accounts: cloudsim.Accounts{
		Host: "hub.example", Devices: map[string]string{"gw-1": "MDEyMzQ1Njc4OWFiY2RlZg=="},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, cloud)
	if err != nil {
		fmt.Println(err)
		return
	}
	order := cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "j-17",
		Software: cloudsim.Software{URL: "https://files.example/v2.bin", Version: "2.0"}}
	_, err = sim.Order(context.Background(), order)
	fmt.Println(err)
	order.Set = map[string]any{"shape": "twin"}
	done, err := sim.Order(context.Background(), order)
	fmt.Println(done[0].Job, done[0].Text, err)
	fmt.Println(sim.Close())
	// Output:
	// bad simulator settings: DeviceNotOnline: the device is not connected, or hears no method calls
	// j-17 desired, version 2 of the twin <nil>
	// <nil>
}
