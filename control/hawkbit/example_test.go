package hawkbit_test

import (
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/hawkbit"
)

// A dialect is told what happens, and says what is to be done: requests, and commands.
func Example() {
	d, err := hawkbit.New(hawkbit.Config{URL: "https://hawkbit.example", Device: "gw-1"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	answers := map[string]string{
		"https://hawkbit.example/DEFAULT/controller/v1/gw-1": `{"config": {"polling": {"sleep": "00:05:00"}},
			"_links": {"deploymentBase": {"href": "https://hawkbit.example/DEFAULT/controller/v1/gw-1/deploymentBase/12"}}}`,
		"https://hawkbit.example/DEFAULT/controller/v1/gw-1/deploymentBase/12": `{"id": "12", "deployment": {"download": "forced", "update": "forced",
			"chunks": [{"part": "os", "version": "2.0", "name": "gateway", "artifacts": [{"filename": "release.json",
			"_links": {"download": {"href": "https://files.example/release.json"}}}]}]}}`,
	}
	next := []control.In{{Kind: control.InConnected}}
	for len(next) > 0 {
		in := next[0]
		next = next[1:]
		d.Step(in, func(o control.Out) {
			switch o.Kind {
			case control.OutRequest:
				fmt.Println(o.Method, o.URL)
				next = append(next, control.In{Kind: control.InResponse, Token: o.Token, Status: 200, Payload: []byte(answers[o.URL])})
			case control.OutCommand:
				fmt.Println(o.Kind, o.Command.Name, o.Command.ID, o.Command.Inputs["url"], o.Command.Inputs["version"])
			case control.OutTimer:
				fmt.Println(o.Kind, o.After)
			}
		})
	}
	fmt.Println(string(d.Save()))
	// Output:
	// GET https://hawkbit.example/DEFAULT/controller/v1/gw-1
	// GET https://hawkbit.example/DEFAULT/controller/v1/gw-1/deploymentBase/12
	// command update 12-049d6c377ef2 https://files.example/release.json 2.0
	// timer 5m0s
	// {"jobs":[{"id":"12-049d6c377ef2","action":"12","kind":"update","stage":"asked"}]}
}
