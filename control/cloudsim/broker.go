package cloudsim

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// accept hands each connection to the broker, behind the faults.
func (s *Sim) accept() {
	for {
		socket, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // one connection that failed early
		}
		c := newConn(socket, s)
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.spawn(func() {
			_ = s.broker.EstablishConnection("sim", c) // returns with its end, whatever it was
			_ = c.Close()
			s.gone(c)
		})
		if s.closed() { // it may have missed this one
			_ = c.Close()
		}
	}
}

// spawn starts a goroutine that Close waits for, unless it waits already.
func (s *Sim) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.work.Go(f)
	}
}

func (s *Sim) gone(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	id := c.id()
	for other := range s.conns {
		if other.id() == id {
			return // it took over
		}
	}
	if known, ok := s.seen[id]; ok {
		known.Connected = false
		s.seen[id] = known
		if !s.closing {
			s.Tell(Event{Kind: EventGone, Client: id})
		}
	}
}

// drop closes the connections of a client, or all.
func (s *Sim) drop(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if client == "" || c.id() == client {
			_ = c.Close()
		}
	}
}

// Two names that topics have inside the broker, so that each device is alone
// with its own: one for what it subscribed to, one for what reaches it anyhow.
func subscribed(device string) string { return "s/" + url.QueryEscape(device) + "/" }
func direct(device string) string     { return "d/" + url.QueryEscape(device) + "/" }

// application is the place of all applications.
const application = "application/"

// outside is a topic as clients know it.
func outside(topic string) string {
	for range 2 {
		if rest, ok := strings.CutPrefix(topic, application); ok {
			return rest
		}
		_, topic, _ = strings.Cut(topic, "/")
	}
	return topic
}

// Send sends as the cloud, to whoever may hear it.
func (s *Sim) Send(all ...Message) {
	for _, m := range all {
		place := subscribed(m.Device)
		if m.Direct {
			place = direct(m.Device)
		}
		_ = s.broker.Publish(place+m.Topic, m.Payload, false, min(m.QoS, 1)) // topics are ours, so it is never refused
		if len(s.cfg.Applications) > 0 {
			_ = s.broker.Publish(application+m.Topic, m.Payload, false, 1)
		}
	}
}

// hook is where the simulator looks into its broker.
type hook struct {
	mochi.HookBase
	sim *Sim

	mu      sync.Mutex
	replies map[*mochi.Client][]Message // from OnPublish to OnPublished
}

// ID names the hook.
func (h *hook) ID() string { return "cloud" }

// Provides names the moments that the hook wants.
func (h *hook) Provides(b byte) bool {
	return bytes.Contains([]byte{mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnSessionEstablished, mochi.OnACLCheck, mochi.OnSubscribe, mochi.OnPacketRead,
		mochi.OnPacketEncode, mochi.OnPublish, mochi.OnPublished, mochi.OnSubscribed}, []byte{b})
}

// OnConnect finds out who a client is. The broker knows it by the name of its
// device from here on, so that a second connection of a device ends the first.
func (h *hook) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return ErrConfig
	}
	caller := Caller{Client: pk.Connect.ClientIdentifier, User: string(pk.Connect.Username), Password: pk.Connect.Password, Certificate: c.certificate()}
	if slices.Contains(h.sim.cfg.Applications, caller.Client) {
		c.admit(caller.Client, true)
		cl.ID = application + caller.Client
		return nil
	}
	device, until, err := h.sim.cloud.Admit(caller)
	if err == nil && !validID(device) {
		err = fmt.Errorf("%w: the device has no name", ErrRefused)
	}
	if login := h.sim.cfg.Login; err == nil && login != nil && !login(caller.Client, caller.User, string(caller.Password)) {
		err = fmt.Errorf("%w: wrong user name or password", ErrRefused)
	}
	if err == nil && h.sim.Expired(device) {
		err = fmt.Errorf("%w: fault %s", ErrRefused, FaultToken)
	}
	if err != nil {
		h.sim.Tell(Event{Kind: EventRefused, Client: caller.Client, Text: err.Error()})
		return nil // OnConnectAuthenticate says so in an acknowledgement
	}
	c.admit(device, false)
	c.expire(until)
	cl.ID = device
	cl.Properties.Will = mochi.Will{} // no cloud here has them
	return nil
}

// OnConnectAuthenticate lets a client in that is known by now.
func (h *hook) OnConnectAuthenticate(cl *mochi.Client, _ packets.Packet) bool {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || c.id() == "" {
		return false
	}
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	known := h.sim.seen[c.id()]
	h.sim.seen[c.id()] = Client{Connected: true, Connects: known.Connects + 1, Last: h.sim.cfg.Now()}
	h.sim.Tell(Event{Kind: EventConnected, Client: c.id()})
	return true
}

// OnSessionEstablished gives a device the place of what reaches it anyhow.
func (h *hook) OnSessionEstablished(cl *mochi.Client, _ packets.Packet) {
	if c, ok := cl.Net.Conn.(*conn); ok && !c.application() {
		all := packets.Subscription{Filter: direct(c.id()) + "#", Qos: 1}
		h.sim.broker.Topics.Subscribe(cl.ID, all)
		cl.State.Subscriptions.Add(all.Filter, all)
	}
}

func validID(id string) bool {
	return id != "" && len(id) <= 256 && !strings.ContainsAny(id, "+#\x00") && !strings.HasPrefix(id, "$")
}

// OnPacketRead moves what a client says to its own place.
func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || c.id() == "" {
		return pk, nil
	}
	place := c.place()
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if pk.FixedHeader.Qos > 1 {
			h.refuse(c, "publishes with QoS 2, which no cloud here has")
			_ = c.Close()
			return pk, packets.ErrRejectPacket
		}
		pk.TopicName = place + pk.TopicName
		pk.FixedHeader.Retain = false // not kept, and not refused
	case packets.Subscribe, packets.Unsubscribe:
		for i := range pk.Filters {
			pk.Filters[i].Filter = place + pk.Filters[i].Filter
		}
	}
	return pk, nil
}

func (h *hook) refuse(c *conn, what string) {
	h.sim.Tell(Event{Kind: EventRefused, Client: c.id(), Text: what})
}

// OnPacketEncode gives topics the names that clients know.
func (h *hook) OnPacketEncode(_ *mochi.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Publish {
		pk.TopicName = outside(pk.TopicName)
	}
	return pk
}

// OnSubscribe asks the cloud.
func (h *hook) OnSubscribe(cl *mochi.Client, pk packets.Packet) packets.Packet {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || c.application() {
		return pk
	}
	var denied []string
	for _, f := range pk.Filters {
		if filter := outside(f.Filter); !h.permits(c, filter, false) {
			h.refuse(c, fmt.Sprintf("may not subscribe to %q", filter))
			denied = append(denied, f.Filter)
		}
	}
	c.deny(denied)
	return pk
}

func (h *hook) permits(c *conn, topic string, publish bool) bool {
	p := h.sim.cloud.Permit(c.id(), topic, publish)
	if p == Disconnect {
		_ = c.Close()
	}
	return p == Allowed
}

// OnACLCheck asks the cloud. What goes to a client has been sorted by place.
func (h *hook) OnACLCheck(cl *mochi.Client, topic string, publish bool) bool {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || c.application() {
		return true
	}
	if !publish {
		return !c.denied(topic)
	}
	if h.permits(c, outside(topic), true) {
		return true
	}
	h.refuse(c, fmt.Sprintf("may not publish to %q", outside(topic)))
	return false
}

// OnPublish is before PUBACK: what is reported is durable first.
func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return pk, nil // the simulator's own
	}
	m := Message{Device: c.id(), Topic: outside(pk.TopicName), Payload: pk.Payload, QoS: pk.FixedHeader.Qos}
	if c.application() {
		m.Device = ""
	}
	replies, err := h.sim.cloud.Take(m)
	if err != nil {
		_ = c.Close() // not durable, so not acknowledged: the device will try again
		return pk, packets.ErrRejectPacket
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replies[cl] = replies
	return pk, packets.CodeSuccessIgnore // acknowledged, and for nobody else
}

// OnPublished is after PUBACK.
func (h *hook) OnPublished(cl *mochi.Client, _ packets.Packet) {
	h.mu.Lock()
	replies := h.replies[cl]
	delete(h.replies, cl)
	h.mu.Unlock()
	h.sim.Send(replies...)
}

// OnSubscribed shows a device that comes back what it may have missed. It is
// before SUBACK, so that after it there is no surprise.
func (h *hook) OnSubscribed(cl *mochi.Client, pk packets.Packet, codes []byte) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || c.application() {
		return
	}
	for i, f := range pk.Filters {
		if codes[i] <= 1 {
			h.sim.Send(h.sim.cloud.Subscribed(c.id(), outside(f.Filter))...)
		}
	}
}
