package cloudsim

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"
)

// Cloud is one vendor's half of the conversation. The simulator owns the
// connections, the files and the records; a cloud says who may come in, what
// is allowed, and what is answered. Its methods are called by many goroutines
// at once, and none before Open. One that is an [io.Closer] is closed by
// [Sim.Close], when nobody is connected any more.
type Cloud interface {
	// Open gives it the simulator that it plays in. It is called once by
	// [Start], when the records can be read and nobody is connected.
	Open(*Sim) error
	// Admit says which device a client is, by what its CONNECT holds. The
	// name is that of its records, faults and trace. until is when the
	// connection ends by itself, the zero time for never. An error refuses the
	// client; its text is told to people and must hold no secret.
	Admit(Caller) (device string, until time.Time, err error)
	// Permit says whether a device may subscribe to a filter, or publish to a
	// topic. An application (see [Config]) is not asked.
	Permit(device, filter string, publish bool) Permission
	// Take takes what was published, before it is acknowledged. Device is ""
	// for an application: the topic has to tell. What it gives is sent after
	// the acknowledgement. An error means that nothing is durable: the
	// connection ends without an acknowledgement.
	Take(Message) ([]Message, error)
	// Subscribed is before the acknowledgement of a subscription, and gives
	// what the device may have missed.
	Subscribed(device, filter string) []Message
	// Order does what an operator wants of one device, and gives what is sent
	// to devices for it. Errors wrap [ErrConfig] or [ErrState].
	Order(context.Context, Order) (Done, []Message, error)
	// Verbs are the orders that the vendor has, of [Verbs].
	Verbs() []Verb
}

// Face is a [Cloud] that speaks HTTP too: a service side, or all of it. The
// simulator opens a listener for it.
type Face interface {
	Cloud
	http.Handler
}

// Caller is a client at the door. User and Password are the bytes received.
type Caller struct {
	Client, User string
	Password     []byte
	Certificate  *x509.Certificate // verified if there are roots to verify it with; nil for none
}

// ErrRefused is what a client is refused with; wrap it.
var ErrRefused = errors.New("refused")

// Permission is what a cloud says to a subscription or publication.
type Permission int

// Refused subscriptions get 0x80, refused publications at QoS 1 end the connection.
const (
	Allowed Permission = iota
	Refused
	Disconnect // the connection ends
)

// Message is one publication, from a device or to one.
type Message struct {
	Device  string
	Topic   string
	Payload []byte
	QoS     byte
	// Direct reaches the device's connection without a subscription.
	Direct bool
}

// Verb is what an operator may want.
type Verb string

// The orders that clouds have, each a part of them.
const (
	VerbPush    Verb = "push"    // update a device
	VerbCancel  Verb = "cancel"  // stop an update
	VerbRetry   Verb = "retry"   // try a failed one once more
	VerbReplace Verb = "replace" // another update in place of the one under way
)

// Verbs are all of them.
func Verbs() []Verb { return []Verb{VerbPush, VerbCancel, VerbRetry, VerbReplace} }

// Order is what an operator wants.
type Order struct {
	Verb Verb `json:"verb"`
	// Device is one, or with All each that the cloud knows.
	Device string `json:"device,omitempty"`
	All    bool   `json:"all,omitempty"`
	// Job is the vendor's identity of the update. Push makes one if it is "".
	Job      string   `json:"job,omitempty"`
	Software Software `json:"software"`
	// Given is Software as the operator said it, before [Sim.Order] filled it in.
	Given Software `json:"-"`
	// Delta is a patch from Source to Software, for vendors that have such.
	Delta  *Software `json:"delta,omitempty"`
	Source *Software `json:"source,omitempty"`
	// Set are further members, in the vendor's own words.
	Set map[string]any `json:"set,omitempty"`
}

// Software is a file to offer. [Sim.Order] fills in what is missing of a File
// in the simulator's folder; faults make the numbers wrong.
type Software struct {
	File    string `json:"file,omitempty"`  // below Config.Files, with slashes
	Query   string `json:"query,omitempty"` // of the URL that File gets
	URL     string `json:"url,omitempty"`   // of another server, if File is ""
	Version string `json:"version,omitempty"`
	Size    int64  `json:"size,omitempty"`   // bytes
	MD5     string `json:"md5,omitempty"`    // lower-case hex
	SHA1    string `json:"sha1,omitempty"`   // lower-case hex
	SHA256  string `json:"sha256,omitempty"` // lower-case hex
}

// Done is what became of an order for one device.
type Done struct {
	Device string `json:"device"`
	Job    string `json:"job"`           // the vendor's identity of the update
	URL    string `json:"url,omitempty"` // without its query
	// Text says it for people, such as "twin version 7".
	Text string `json:"text,omitempty"`
}
