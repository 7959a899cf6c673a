package awsjobs_test

import (
	"cmp"
	"fmt"
	"log"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/engine"
)

// A dialect is told what happens, and says what is to be done.
func Example() {
	d, err := awsjobs.New(awsjobs.Config{Device: "gw-1"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	step := func(in control.In) (outs []control.Out) {
		in.Now = time.Unix(1767225600, 0)
		d.Step(in, func(o control.Out) { outs = append(outs, o) })
		return outs
	}
	step(control.In{Kind: control.InConnected})
	next := []byte(`{"execution": {"jobId": "j-17", "executionNumber": 1, "versionNumber": 1, "status": "QUEUED", "jobDocument": {"url": "https://files.example/v2.img"}}}`)
	for _, o := range step(control.In{Kind: control.InMessage, Topic: "$aws/things/gw-1/jobs/$next/get/accepted", Message: 1, Payload: next}) {
		if o.Kind != control.OutCommand {
			continue
		}
		fmt.Println(o.Kind, o.Command.ID, o.Command.Inputs["url"])
		for _, o := range step(control.In{Kind: control.InReceipt, Token: o.Token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}}) {
			fmt.Println(o.Kind, cmp.Or(o.Topic, o.After.String()))
		}
	}
	fmt.Println(string(d.Save()))
	// Output:
	// command j-17/1 https://files.example/v2.img
	// publish $aws/things/gw-1/jobs/j-17/update
	// timer 11.3s
	// {"jobs":[{"id":"j-17","execution":1,"stage":"running","run":"run-1","document":"cbfe414d798918f8"}]}
}

// A stream is asked what to publish, told what comes, and read.
func ExampleStream() {
	s, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "gw-1", Stream: "s-1", Size: 5, Block: 256})
	if err != nil {
		log.Fatal(err)
	}
	out, again := s.Poll(time.Unix(1767225600, 0))
	fmt.Println(out.Topic, string(out.Payload), again)
	err = s.Message("$aws/things/gw-1/streams/s-1/data/json", []byte(`{"c": "1767225600-1", "f": 0, "l": 256, "i": 0, "p": "aGVsbG8="}`))
	if err != nil {
		log.Fatal(err)
	}
	text := make([]byte, 16)
	n, err := s.Read(text)
	fmt.Println(string(text[:n]), err)
	_, err = s.Read(text)
	fmt.Println(err)
	// Output:
	// $aws/things/gw-1/streams/s-1/get/json {"b":"01","c":"1767225600-1","f":0,"l":256,"n":1,"o":0} 10s
	// hello <nil>
	// EOF
}
