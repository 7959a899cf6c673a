package aliyun_test

import (
	"cmp"
	"fmt"
	"log"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/engine"
)

// The credentials of a device are what its CONNECT holds. They are the same each
// time, and the cloud's side can check them.
func ExampleLogin() {
	d := aliyun.Device{ProductKey: "a1B2c3", Name: "gw-1"}
	c, err := aliyun.Login(d, aliyun.Settings{}, "device secret")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Host("cn-shanghai"))
	fmt.Println(c.ClientID)
	fmt.Println(c.User)
	fmt.Println(len(c.Password), aliyun.Check(c, "device secret"), aliyun.Check(c, "a guess"))
	// Output:
	// a1b2c3.iot-as-mqtt.cn-shanghai.aliyuncs.com
	// a1B2c3.gw-1|securemode=2,signmethod=hmacsha256,timestamp=2524608000000|
	// gw-1&a1B2c3
	// 64 <nil> login refused: the password does not belong to a1B2c3.gw-1
}

// words is a cloud of few words.
type words struct{}

func (words) Taken(*aliyun.Job, bool, func(control.Out))         {}
func (words) Refused(*aliyun.Job, error, func(control.Out)) bool { return true }
func (words) Ended(*aliyun.Job)                                  {}
func (words) Tell(j *aliyun.Job) []control.Out {
	return []control.Out{{Topic: "ends", Payload: []byte(j.Version() + " " + string(j.Ending.State))}}
}

// The book gives a command for a wish, and tells the end until the broker has it.
func ExampleJobs() {
	book := aliyun.NewJobs(words{}, aliyun.Device{ProductKey: "a1B2c3", Name: "gw-1"})
	var token uint64
	emit := func(o control.Out) {
		if o.Token != 0 && o.Kind != control.OutTimer {
			token = o.Token
		}
		if o.Kind != control.OutTimer {
			fmt.Printf("%s %s\n", o.Kind, cmp.Or(o.Command.ID, string(o.Payload), o.Report, fmt.Sprint(o.Message)))
		}
	}
	book.Step(control.In{Kind: control.InConnected}, emit)
	book.Begin(control.In{Message: 1}, aliyun.Wish{Key: aliyun.Key("default", "2.0"), Ask: "77"}, emit)
	book.Step(control.In{Kind: control.InReceipt, Token: token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}}, emit)
	book.Step(control.In{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Run: "run-1", Command: "default:2.0:e3b0c44298fc:77", State: engine.Succeeded}}, emit)
	book.Step(control.In{Kind: control.InPublished, Token: token}, emit)
	// Output:
	// command default:2.0:e3b0c44298fc:77
	// handled 1
	// publish 2.0 succeeded
	// delivered run-1.0
}
