package control_test

import (
	"cmp"
	"fmt"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// postcards is a cloud that sends the name of a release to one topic and wants
// to read on another how it went. A real dialect also copes with what comes
// twice, late or wrong, and saves what it must know after a restart.
type postcards struct{ asked uint64 }

func (p *postcards) Step(in control.In, emit func(control.Out)) {
	switch in.Kind {
	case control.InConnected:
		emit(control.Out{Kind: control.OutSubscribe, Topic: "to/gw-1", QoS: 1})
	case control.InMessage:
		p.asked = in.Message
		release := string(in.Payload)
		emit(control.Out{Kind: control.OutCommand, Token: 1, Command: control.Command{ID: release, Name: "update", Inputs: map[string]string{"release": release}}})
	case control.InReceipt: // the command is durable: the broker may forget the message
		emit(control.Out{Kind: control.OutHandled, Message: p.asked})
	case control.InReport:
		emit(control.Out{Kind: control.OutPublish, Topic: "from/gw-1", QoS: 1, Payload: []byte(in.Report.State)})
		emit(control.Out{Kind: control.OutDelivered, Report: in.Report.ID})
	}
}

func (p *postcards) Save() []byte { return nil }

var _ control.Dialect = (*postcards)(nil)

// A dialect is told what happens and says what is to be done; whoever owns it
// has the connection, the clock and the engine.
func ExampleDialect() {
	var d control.Dialect = new(postcards)
	for _, in := range []control.In{
		{Kind: control.InConnected},
		{Kind: control.InMessage, Topic: "to/gw-1", Message: 1, Payload: []byte("v2")},
		{Kind: control.InReceipt, Token: 1, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}},
		{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Command: "v2", State: engine.Succeeded}},
	} {
		fmt.Println("->", in.Kind)
		d.Step(in, func(o control.Out) {
			fmt.Println("   <-", o.Kind, cmp.Or(o.Topic, o.Command.ID, o.Report, fmt.Sprint(o.Message)))
		})
	}
	// Output:
	// -> connected
	//    <- subscribe to/gw-1
	// -> message
	//    <- command v2
	// -> receipt
	//    <- handled 1
	// -> report
	//    <- publish from/gw-1
	//    <- delivered run-1.0
}
