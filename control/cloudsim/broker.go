package cloudsim

import (
	"bytes"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"net"
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
			s.tell(Event{Kind: EventGone, Client: id})
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

// message is what the cloud has to say.
type message struct {
	topic   string
	payload []byte
}

// publish sends as the cloud, to whoever may hear it.
func (s *Sim) publish(all []message) {
	for _, m := range all {
		_ = s.broker.Publish(m.topic, m.payload, false, 1) // topics are ours, so it is never refused
	}
}

// hook is where the cloud looks into its broker.
type hook struct {
	mochi.HookBase
	sim *Sim

	mu      sync.Mutex
	replies map[*mochi.Client][]message // from OnPublish to OnPublished
}

// ID names the hook.
func (h *hook) ID() string { return "cloud" }

// Provides names the moments that the hook wants.
func (h *hook) Provides(b byte) bool {
	return bytes.Contains([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish, mochi.OnPublished, mochi.OnSubscribed}, []byte{b})
}

// OnConnectAuthenticate lets a client in, if its id is one and its own.
func (h *hook) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || !validID(cl.ID) || !ownCertificate(c, cl.ID) {
		return false
	}
	if login := h.sim.cfg.Login; login != nil && !login(cl.ID, string(pk.Connect.Username), string(pk.Connect.Password)) {
		return false
	}
	c.name(cl.ID)
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	known := h.sim.seen[cl.ID]
	h.sim.seen[cl.ID] = Client{Connected: true, Connects: known.Connects + 1, Last: h.sim.cfg.Now()}
	h.sim.tell(Event{Kind: EventConnected, Client: cl.ID})
	return true
}

func validID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsAny(id, "/+#\x00") && !strings.HasPrefix(id, "$")
}

// ownCertificate says whether a client's certificate, if there is one, names it.
func ownCertificate(c *conn, id string) bool {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok || len(secure.ConnectionState().PeerCertificates) == 0 {
		return true
	}
	var subject pkix.Name = secure.ConnectionState().PeerCertificates[0].Subject
	return subject.CommonName == id
}

// OnACLCheck holds each device to its own topics, and to the two that it may write.
func (h *hook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	if slices.Contains(h.sim.cfg.Applications, cl.ID) {
		return true
	}
	for _, prefix := range prefixes(cl.ID) {
		if rest, ok := strings.CutPrefix(topic, prefix); ok {
			return !write || rest == "update" || rest == "get"
		}
	}
	return false
}

// prefixes are the two names that a device's shadow has.
func prefixes(device string) []string {
	return []string{"state/" + device + "/", "$aws/things/" + device + "/shadow/"}
}

// split finds the device and the request in a topic.
func split(topic string) (prefix, device, request string, ok bool) {
	at := strings.LastIndexByte(topic, '/')
	if at < 0 {
		return "", "", "", false
	}
	prefix, request = topic[:at+1], topic[at+1:]
	device, ok = strings.CutPrefix(prefix, "state/")
	if ok {
		device = strings.TrimSuffix(device, "/")
	} else if device, ok = strings.CutPrefix(prefix, "$aws/things/"); ok {
		device, ok = strings.CutSuffix(device, "/shadow/")
	}
	return prefix, device, request, ok && validID(device) && (request == "update" || request == "get")
}

// OnPublish is before PUBACK: what is reported is durable first.
func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	prefix, device, request, ok := split(pk.TopicName)
	if !ok || cl.Net.Inline {
		return pk, nil
	}
	var replies []message
	var err error
	if request == "get" {
		replies = h.sim.cloud.get(prefix, device, pk.Payload)
	} else if replies, err = h.sim.cloud.update(prefix, device, pk.Payload); err != nil {
		_ = cl.Net.Conn.Close() // not durable, so not acknowledged: the device will try again
		return pk, packets.ErrRejectPacket
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replies[cl] = replies
	return pk, nil
}

// OnPublished is after PUBACK.
func (h *hook) OnPublished(cl *mochi.Client, pk packets.Packet) {
	if cl.Net.Inline {
		return
	}
	h.mu.Lock()
	replies := h.replies[cl]
	delete(h.replies, cl)
	h.mu.Unlock()
	h.sim.publish(replies)
}

// OnSubscribed shows a device that comes back what it may have missed. It is
// before SUBACK, so that after it there is no surprise.
func (h *hook) OnSubscribed(cl *mochi.Client, pk packets.Packet, codes []byte) {
	if cl.Net.Inline {
		return
	}
	for i, f := range pk.Filters {
		for _, prefix := range prefixes(cl.ID) {
			if codes[i] <= 1 && (f.Filter == prefix+"update/delta" || f.Filter == prefix+"update/#" || f.Filter == prefix+"#") {
				h.sim.publish(h.sim.cloud.again(prefix, cl.ID))
			}
		}
	}
}
