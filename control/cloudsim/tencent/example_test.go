package tencent_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/tencent"
)

// A product with one device, and a push that waits for it.
func Example() {
	cloud, err := tencent.New(tencent.Config{Accounts: cloudsim.Accounts{
		Product: "PRODUCT001",
		Devices: map[string]string{"gw-1": "MDEyMzQ1Njc4OWFiY2RlZg=="},
	}})
	if err != nil {
		log.Fatal(err)
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, cloud)
	if err != nil {
		log.Fatal(err)
	}
	done, err := sim.Order(context.Background(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "spring", Software: cloudsim.Software{
		URL: "https://files.example/v2.bin?sign=abc", Version: "0.2", Size: 708482, MD5: "36eb5951179db14a631463a37a9322a2"}})
	fmt.Println(done, err)

	// What the device would say on its connection, and what it would hear.
	replies, err := cloud.Take(cloudsim.Message{Device: "gw-1", Topic: "$ota/report/PRODUCT001/gw-1",
		Payload: []byte(`{"type":"report_version","report":{"version":"0.1"}}`)})
	for _, m := range replies {
		fmt.Println(strings.ReplaceAll(string(m.Payload), ",", ", "))
	}
	fmt.Println(err, sim.Close())
	// Output:
	// [{gw-1 spring https://files.example/v2.bin version "0.2" waits for the device}] <nil>
	// {"result_code":0, "result_msg":"success", "type":"report_version_rsp", "version":"0.1"}
	// {"file_size":708482, "md5sum":"36eb5951179db14a631463a37a9322a2", "type":"update_firmware", "url":"https://files.example/v2.bin?sign=abc", "version":"0.2"}
	// <nil> <nil>
}
