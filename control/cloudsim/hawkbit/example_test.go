package hawkbit_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hawkbit"
)

// A server with one device, which polls after an update was pushed.
func Example() {
	cloud, err := hawkbit.New(hawkbit.Config{Accounts: cloudsim.Accounts{Devices: map[string]string{"gw-1": "s3cr3t"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, cloud)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sim.Close()
	done, err := sim.Order(context.Background(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1",
		Software: cloudsim.Software{URL: "https://files.example/gateway.img", Version: "2.0"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(done[0].Text)

	req, err := http.NewRequest("GET", sim.Endpoints().Face+"/DEFAULT/controller/v1/gw-1", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header.Set("Authorization", "TargetToken s3cr3t")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	fmt.Println(err, regexp.MustCompile(`http://[^/]+|\?c=[-0-9]+`).ReplaceAllString(string(body), ""))
	// Output:
	// action 1, forced
	// <nil> {"config":{"polling":{"sleep":"00:00:10"}},"_links":{"configData":{"href":"/DEFAULT/controller/v1/gw-1/configData"},"deploymentBase":{"href":"/DEFAULT/controller/v1/gw-1/deploymentBase/1"}}}
}
