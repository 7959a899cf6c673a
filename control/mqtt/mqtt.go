// Package mqtt connects one [control.Dialect] to one broker, over MQTT 3.1.1.
//
// [New] checks a [Config], [Link.Run] keeps the connection until its context
// ends, and [Link.Post] hands in what the engine has to tell: events and
// reports. Whatever the dialect wants of the device goes to a [Host].
//
// A message is acknowledged to the broker when the dialect says that it is
// handled, so one that was cut short comes again: at least once, never only
// perhaps. A report is given to the dialect after each connect until the
// dialect says that it is delivered. Progress may be lost.
//
// A publish waits for a connection, but for those that the dialect sends again
// by itself: what a connect or a report causes, and what has a Token. These end with
// their connection, without an InPublished: a dialect that waits for one begins again
// at InConnected.
//
// A login that ends, such as a signed token, is made for each connection by
// Config.Login, and the connection is made anew in good time before that.
//
// Nothing here trusts the broker: packets are checked for size and shape
// before the library sees them, each answer has a time limit, and a broker
// that says nothing is left. What waits for the network goes by the clock of
// the machine; pauses between attempts and the timers of dialects by
// Config.Clock.
package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// Reasons for which there is no connection. [Status].Err wraps one of them,
// or an error of the network.
var (
	// ErrConfig means that a Config cannot work, whatever the broker does.
	ErrConfig = errors.New("bad connection settings")
	// ErrSecret means that a secret could not be read or has the wrong form.
	ErrSecret = errors.New("secret not usable")
	// ErrInsecure means that user and password would have crossed a network in the clear.
	ErrInsecure = errors.New("user and password need TLS, or a broker on this machine")
	// ErrWrongName means that the broker's certificate is for other names.
	ErrWrongName = errors.New("certificate is for another name")
	// ErrExpired means that a certificate is not valid at this time.
	ErrExpired = errors.New("certificate is not valid now")
	// ErrSelfSigned means that the broker vouches for itself.
	ErrSelfSigned = errors.New("certificate is self-signed")
	// ErrUnknownIssuer means that nobody who is trusted signed the certificate.
	ErrUnknownIssuer = errors.New("certificate is signed by an authority that is not trusted")
	// ErrRefused means that the broker answered no: to the connection or to a subscription.
	ErrRefused = errors.New("broker refused")
	// ErrSilent means that an answer did not come in time.
	ErrSilent = errors.New("broker does not answer")
	// ErrProtocol means that the broker sent what MQTT 3.1.1 does not allow.
	ErrProtocol = errors.New("broker broke the protocol")
	// ErrFlood means that more messages came than are kept unhandled.
	ErrFlood = errors.New("too many messages at once")
	// ErrLost means that the broker ended the connection.
	ErrLost = errors.New("connection lost")
)

// Clock is what goes on without the network: pauses and timers. Sleep returns
// early, with an error, when ctx ends. It may be called by several goroutines.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// Host is the device's side of a connection. Save is called by the goroutine
// of Run. Command, Cancel and Delivered are called one at a time, in order, by
// another. Log may be called by several at once. All of them should return soon,
// Command too: while it does not, nothing else is handed over.
type Host interface {
	// Command takes a command. Once the command is durable or refused, which
	// may be long after Command has returned and in another connection, the
	// host calls answer: the Receipt says so, or the Refusal. Kind, Now and
	// Token are filled in. Any goroutine may call answer, at any time; it never
	// waits, only the first call counts, and none does once ctx has ended. At
	// most 16 commands are without an answer at once; more are refused as
	// "busy", and the host does not hear of them.
	Command(ctx context.Context, c control.Command, answer func(control.In))
	// Cancel asks for the end of the run that a command began or will begin:
	// the command may not have its answer yet, and still gets one.
	Cancel(ctx context.Context, command string)
	// Delivered says that the cloud has the report.
	Delivered(ctx context.Context, report string)
	// Save makes the dialect's state durable. Until it has, nothing that
	// follows from the state is told to the broker as handled.
	Save(ctx context.Context, state []byte) error
	// Log takes one line for people. It holds no secret.
	Log(text string)
}

// Config says where and how to connect. Times of zero mean the default.
type Config struct {
	// URL is tls://host[:8883] (or mqtts, ssl), or tcp://host[:1883] (or mqtt).
	URL string
	// ID is the MQTT client id.
	ID string
	// User and Password are for brokers that ask for them.
	User     string
	Password Secret
	// Login, if set, makes ID, User and Password anew for each connection, and
	// says when they end; those here are empty then. It is called by one
	// goroutine at a time and may read secrets. An error is a failed attempt: it is
	// shown, and must hold no secret.
	Login func(now time.Time) (Login, error)
	// Cert and Key are the client's certificate and its key, PEM.
	Cert, Key Secret
	// Roots are the authorities to trust instead of the system's, PEM.
	Roots Secret
	// ServerName is the name that the certificate must have, if not the host's.
	ServerName string
	// ALPN is offered in the TLS handshake, for brokers that share port 443.
	ALPN []string

	// MaxMessage is the size in bytes of the largest packet that is taken or
	// sent. Larger ones are skipped without being held in memory. The default is 256 KiB.
	MaxMessage int64
	// MaxQueue is how many publishes wait while the broker is away. Progress
	// goes first, what reports cause never. The default is 64.
	MaxQueue int

	ConnectTimeout time.Duration // for name, TCP, TLS and CONNACK together; 30 s
	AnswerTimeout  time.Duration // for each acknowledgement; 20 s
	RequestTimeout time.Duration // for an HTTP request of the dialect; 1 min
	KeepAlive      time.Duration // whole seconds; 30 s
	RetryMin       time.Duration // the first pause after a failure; 1 s
	RetryMax       time.Duration // the longest pause; 5 min. A connection that lasts a minute starts over

	// Clock is the machine's if nil.
	Clock Clock
	// Dial opens TCP connections, with net.Dialer if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// PlainRequests lets the dialect ask by http too, for documents that it
	// proves by a signature or a digest. Otherwise requests need https, or a
	// server on this machine.
	PlainRequests bool
	// HTTP carries the requests of the dialect; with the same trust as the broker's if nil.
	HTTP http.RoundTripper
	// Rand gives numbers in [0, 1) for the pauses, from math/rand if nil.
	Rand func() float64
}

// endpoint is a checked URL.
type endpoint struct {
	tls  bool
	host string
	addr string // host:port
}

func (e endpoint) String() string {
	if e.tls {
		return "tls://" + e.addr
	}
	return "tcp://" + e.addr
}

// schemes says which URL schemes mean TLS.
var schemes = map[string]bool{"tls": true, "mqtts": true, "ssl": true, "tcp": false, "mqtt": false}

func parseEndpoint(raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, fmt.Errorf("%w: the url does not parse, expected tls://host:port", ErrConfig)
	}
	secure, ok := schemes[u.Scheme]
	switch {
	case !ok:
		return endpoint{}, fmt.Errorf("%w: unknown scheme %q, expected tls or tcp", ErrConfig, u.Scheme)
	case u.User != nil:
		return endpoint{}, fmt.Errorf("%w: user and password do not belong into the url", ErrConfig)
	case u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return endpoint{}, fmt.Errorf("%w: expected %s://host:port and nothing else", ErrConfig, u.Scheme)
	}
	port := cmp.Or(u.Port(), map[bool]string{true: "8883", false: "1883"}[secure])
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return endpoint{}, fmt.Errorf("%w: port %.20q, expected 1 to 65535", ErrConfig, port)
	}
	return endpoint{secure, u.Hostname(), net.JoinHostPort(u.Hostname(), port)}, nil
}

// withDefaults fills in what is zero and refuses what cannot work.
func (c Config) withDefaults() (Config, endpoint, error) {
	at, err := parseEndpoint(c.URL)
	if err != nil {
		return c, at, err
	}
	c.MaxMessage = cmp.Or(c.MaxMessage, 256<<10)
	c.MaxQueue = cmp.Or(c.MaxQueue, 64)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 30*time.Second)
	c.AnswerTimeout = cmp.Or(c.AnswerTimeout, 20*time.Second)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, time.Minute)
	c.KeepAlive = cmp.Or(c.KeepAlive, 30*time.Second)
	c.RetryMin = cmp.Or(c.RetryMin, time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, 5*time.Minute)
	if c.Clock == nil {
		c.Clock = machineClock{}
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	return c, at, c.check(at)
}

func (c Config) check(at endpoint) error {
	switch {
	case c.Login != nil && (c.ID != "" || c.User != "" || c.Password.Set()):
		return fmt.Errorf("%w: the client id, the user and the password are made for each connection", ErrConfig)
	case c.Login == nil && (c.ID == "" || len(c.ID) > maxName):
		return fmt.Errorf("%w: a client id is needed", ErrConfig)
	case !at.tls && (c.Cert.Set() || c.Key.Set() || c.Roots.Set()):
		return fmt.Errorf("%w: certificates need a tls:// url", ErrConfig)
	case c.Cert.Set() != c.Key.Set():
		return fmt.Errorf("%w: a client certificate and its key come together", ErrConfig)
	case c.Password.Set() && c.User == "":
		return fmt.Errorf("%w: a password needs a user", ErrConfig)
	case !at.tls && c.logsIn() && !loopbackName(at.host):
		return fmt.Errorf("%w: %w: %s", ErrConfig, ErrInsecure, at)
	case c.KeepAlive < time.Second || c.KeepAlive > 65535*time.Second:
		return fmt.Errorf("%w: keep-alive of %s, expected 1 s to 18 h", ErrConfig, c.KeepAlive)
	case c.MaxMessage < 1024 || c.MaxMessage > 256<<20 || c.MaxQueue < 1:
		return fmt.Errorf("%w: messages of at most %d bytes in queues of %d, expected at least 1024 and 1", ErrConfig, c.MaxMessage, c.MaxQueue)
	case min(c.ConnectTimeout, c.AnswerTimeout, c.RequestTimeout, c.RetryMin) < 0 || c.RetryMax < c.RetryMin:
		return fmt.Errorf("%w: a time is negative, or the longest pause shorter than the first", ErrConfig)
	}
	return nil
}

// logsIn says whether a connection may carry a user and a password.
func (c *Config) logsIn() bool { return c.User != "" || c.Login != nil }

func loopbackName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// machineClock is the real one.
type machineClock struct{}

func (machineClock) Now() time.Time { return time.Now() }

func (machineClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
