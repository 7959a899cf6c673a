package aliyun_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aliyun"
)

// An OTA service for one device, and what becomes of an update of it. Here an
// application speaks for the device; usually that comes over MQTT.
func ExampleNewOTA() {
	ota, err := aliyun.NewOTA(aliyun.Config{Accounts: cloudsim.Accounts{Product: "a1B2c3", Devices: map[string]string{"gw-1": "device secret"}}})
	if err != nil {
		log.Fatal(err)
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, ota)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = sim.Close() }()
	done, err := sim.Order(context.Background(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "spring",
		Software: cloudsim.Software{URL: "https://files.example/fw?sig=1", Version: "2.0.0", Size: 432945, MD5: "93230c3bde425a9d7984a594ac55ea1e"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(done[0].Job, done[0].Text, done[0].URL)
	for _, version := range []string{"1.0.0", "2.0.0"} {
		shown, err := ota.Take(cloudsim.Message{Topic: "/ota/device/inform/a1B2c3/gw-1", Payload: []byte(`{"id":"1","params":{"version":"` + version + `"}}`)})
		if err != nil {
			log.Fatal(err)
		}
		for _, m := range shown {
			fmt.Println(m.Topic, strings.Contains(string(m.Payload), `"version":"2.0.0"`))
		}
	}
	record, _ := sim.Book().Look("gw-1")
	fmt.Println(record.Ends[0].Job, record.Ends[0].Outcome, record.Ends[0].Result)
	// Output:
	// spring QUEUED: module default to 2.0.0 https://files.example/fw
	// /ota/device/upgrade/a1B2c3/gw-1 true
	// spring succeeded SUCCEEDED
}
