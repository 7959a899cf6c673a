package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// connection is one connection from CONNECT to its end; the next one gets a
// new client of the library, which keeps nothing for us.
type connection struct {
	client  paho.Client
	login   Login
	began   time.Time // when the login was made
	answer  time.Duration
	session bool              // the broker kept ours
	inbox   chan paho.Message // bounded
	acks    chan paho.Message // bounded
	acking  sync.WaitGroup
	held    atomic.Int64 // bytes of messages without PUBACK; the library keeps them until then
	room    int64        // for them

	parting bool // of the owner: it ends as soon as nothing is under way

	dead chan struct{} // closed when it is of no more use
	once sync.Once
	why  error // set before dead is closed
}

// What may wait in memory, of one connection: for the dialect, for OutHandled,
// and for PUBACK to be written.
const (
	maxUnhandled = 1024 // messages, each
	maxHeld      = 16   // times MaxMessage, in bytes, of messages together
)

// connect makes one attempt. The caller closes the connection.
func (l *Link) connect(ctx context.Context) (*connection, error) {
	login, password, err := l.cfg.login()
	if err != nil {
		return nil, err
	}
	c := &connection{
		login:  login,
		began:  l.cfg.Clock.Now(),
		answer: l.cfg.AnswerTimeout,
		inbox:  make(chan paho.Message, maxUnhandled),
		acks:   make(chan paho.Message, maxUnhandled),
		room:   l.cfg.MaxMessage * maxHeld,
		dead:   make(chan struct{}),
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer cancel()
	var w *wire
	var dialled error // what the library would wrap
	stop := func() bool { return true }
	o := l.options(c, password)
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		conn, err := l.dial(ctx)
		if err != nil {
			dialled = err
			return nil, err
		}
		first, _ := ctx.Deadline()
		w = newWire(conn, first, &l.cfg, l.host.Log)
		// What the library waits for ends with ctx, so its token does too.
		stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		return w, nil
	})
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { c.fail(lost(w, err)) })
	c.client = paho.NewClient(o)
	token := c.client.Connect().(*paho.ConnectToken)
	<-token.Done()
	if err := cmp.Or(dialled, token.Error()); err != nil {
		return nil, unconnected(ctx, token, w, err)
	}
	c.session = token.SessionPresent()
	c.acking.Go(c.writeAcks)
	if !stop() {
		c.close()
		return nil, unconnected(ctx, token, w, context.Cause(ctx))
	}
	return c, nil
}

func (l *Link) options(c *connection, password string) *paho.ClientOptions {
	o := paho.NewClientOptions()
	o.AddBroker("tcp://" + l.at.addr) // our own dial decides about TLS
	o.SetClientID(c.login.ID)
	o.SetUsername(c.login.User)
	o.SetPassword(password)
	o.SetProtocolVersion(4) // or it would try again with MQTT 3.1
	o.SetCleanSession(false)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetOrderMatters(false)
	o.SetAutoAckDisabled(true)
	o.SetKeepAlive(l.cfg.KeepAlive)
	o.SetPingTimeout(l.cfg.KeepAlive*2 + l.cfg.AnswerTimeout) // the watchdog of wire comes first, but for a broker that drips
	o.SetConnectTimeout(l.cfg.ConnectTimeout)
	o.SetWriteTimeout(l.cfg.AnswerTimeout)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { c.receive(m) })
	return o
}

// answers are the codes of CONNACK that mean no.
var answers = map[byte]string{
	1: "it does not speak MQTT 3.1.1",
	2: "it does not like the client id",
	3: "it is not available",
	4: "user name or password are wrong",
	5: "this client may not connect",
}

// unconnected says why there is no connection: by what the broker answered,
// what the wire saw, or what the library says.
func unconnected(ctx context.Context, token *paho.ConnectToken, w *wire, err error) error {
	if text, ok := answers[token.ReturnCode()]; ok {
		return fmt.Errorf("%w: %s", ErrRefused, text)
	}
	if w != nil && ctx.Err() == nil && w.cause() != nil {
		return w.cause()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && w != nil {
		return fmt.Errorf("%w: it took the connection and sent no CONNACK", ErrSilent)
	}
	return explain(err)
}

// lost says why a connection ended.
func lost(w *wire, err error) error {
	switch {
	case w != nil && w.cause() != nil:
		return w.cause()
	case err != nil && strings.Contains(err.Error(), "pingresp"):
		return fmt.Errorf("%w: no answer to pings", ErrSilent)
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// fail ends the connection; the first reason is the one that counts.
func (c *connection) fail(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.dead)
	})
}

// close sends what is to be acknowledged, says goodbye and waits until the
// library has ended.
func (c *connection) close() {
	c.fail(ErrLost)
	c.acking.Wait()
	c.client.Disconnect(250)
	// The second call waits for the first, whose workers may still be ending.
	c.client.Disconnect(uint(max(c.answer, time.Second).Milliseconds()))
}

// receive is called by the library, each time by a new goroutine. It never
// waits, or there would be no bound to them.
func (c *connection) receive(m paho.Message) {
	if held := c.held.Add(int64(len(m.Payload()) + len(m.Topic()))); held > c.room {
		c.fail(fmt.Errorf("%w: %d bytes are waiting", ErrFlood, held))
		return
	}
	select {
	case c.inbox <- m:
	default:
		c.fail(fmt.Errorf("%w: %d are waiting", ErrFlood, cap(c.inbox)))
	}
}

// release says that a message is not held any more.
func (c *connection) release(m paho.Message) {
	c.held.Add(-int64(len(m.Payload()) + len(m.Topic())))
}

// acknowledge has PUBACK sent for a message, soon.
func (c *connection) acknowledge(m paho.Message) {
	select {
	case c.acks <- m:
	default:
		c.fail(fmt.Errorf("%w: acknowledgements cannot be sent", ErrFlood))
	}
}

// writeAcks is a goroutine of its own, so that a slow socket holds up nobody else.
func (c *connection) writeAcks() {
	for {
		select {
		case m := <-c.acks:
			m.Ack()
			c.release(m)
		case <-c.dead:
			for len(c.acks) > 0 {
				(<-c.acks).Ack()
			}
			return
		}
	}
}

// subscribe waits for SUBACK.
func (c *connection) subscribe(topic string, qos byte) error {
	token := c.client.Subscribe(topic, qos, nil).(*paho.SubscribeToken)
	if err := c.await(token, "subscription to "+shown(topic)); err != nil {
		return err
	}
	if code := token.Result()[topic]; code > 1 {
		return fmt.Errorf("%w the subscription to %s", ErrRefused, shown(topic))
	}
	return nil
}

// unsubscribe waits for UNSUBACK.
func (c *connection) unsubscribe(topic string) error {
	return c.await(c.client.Unsubscribe(topic), "unsubscription from "+shown(topic))
}

// publish waits for PUBACK, or with QoS 0 until it is sent.
func (c *connection) publish(topic string, qos byte, payload []byte) error {
	return c.await(c.client.Publish(topic, qos, false, payload), "publish to "+shown(topic))
}

func (c *connection) await(token paho.Token, what string) error {
	limit := time.NewTimer(c.answer)
	defer limit.Stop()
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-c.dead:
		return c.why
	case <-limit.C:
		return fmt.Errorf("%w: no acknowledgement of a %s in %s", ErrSilent, what, c.answer)
	}
}
