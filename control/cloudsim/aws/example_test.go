package aws_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// A cloud that gives a thing a job, and what the thing would be told of it.
func ExampleNew() {
	cloud, err := aws.New(aws.Config{Via: "jobs"})
	if err != nil {
		fmt.Println(err)
		return
	}
	sim, err := cloudsim.Start(cloudsim.Config{}, cloud)
	if err != nil {
		fmt.Println(err)
		return
	}
	done, err := sim.Order(context.Background(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "to-2",
		Software: cloudsim.Software{URL: "https://files.example/v2.img", Version: "2.0"}})
	fmt.Println(done, err)
	answers, err := cloud.Take(cloudsim.Message{Device: "gw-1", Topic: "$aws/things/gw-1/jobs/to-2/update", Payload: []byte(`{"status":"SUCCEEDED"}`)})
	for _, m := range answers {
		fmt.Println(m.Topic)
	}
	record, _ := sim.Book().Look("gw-1")
	fmt.Println(record.Ends[0].Job, record.Ends[0].Outcome, errors.Join(err, sim.Close(), cloud.Close()))
	// Output:
	// [{gw-1 to-2 https://files.example/v2.img QUEUED, execution 1}] <nil>
	// $aws/things/gw-1/jobs/to-2/update/accepted
	// $aws/things/gw-1/jobs/notify
	// $aws/things/gw-1/jobs/notify-next
	// to-2 succeeded <nil>
}
