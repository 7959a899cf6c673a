// Package cloudsim plays clouds on one machine, for demos and tests: a broker
// that owns the connections, an artifact server, the records of devices, and a
// [Cloud] that is one vendor's half of the conversation.
//
// [Start] opens them; [Sim.Order] wants something of a device, [Sim.Wait] waits
// until the cloud knows how it went, [Sim.SetFault] makes the world worse. A
// simulator that runs elsewhere is driven through a [Remote]. The clouds are in
// the folders below.
//
// A client sees the topics of its own device alone, whoever uses the same
// names: topics such as $iothub/twin/GET/?$rid=1 name no device. What a device
// reports is in a file before it is acknowledged, if there is a folder for it,
// so that a simulator may be killed and started again. Sessions and messages
// under way are lost then, as with a broker that forgets; a cloud says again
// what a device may have missed when it subscribes.
//
// It is no cloud: nothing here is meant to be reached from a network that is
// not trusted.
package cloudsim

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
)

// ErrConfig means that a Config cannot work, or that a request makes no sense.
var ErrConfig = errors.New("bad simulator settings")

// ErrState means that the folder of the simulator cannot be read or written.
var ErrState = errors.New("simulator state")

// Config says where a simulator listens and what it knows. The zero value
// listens on free ports of this machine and forgets everything at its end.
type Config struct {
	// Listen, FilesListen and ControlListen are host:port; 127.0.0.1:0 if
	// empty. Control must be on this machine.
	Listen, FilesListen, ControlListen string
	// FaceListen is host:port of a [Face], 127.0.0.1:0 if empty.
	FaceListen string
	// TLS is for the broker and the face; plain TCP and HTTP if nil.
	TLS *tls.Config
	// FilesTLS is for the file server; plain HTTP if nil.
	FilesTLS *tls.Config
	// FilesURL is how devices reach the file server, such as
	// https://host:8443/files/; made of its address if "".
	FilesURL string
	// Plane is the name of the cloud, for who finds the simulator by its folder.
	Plane string
	// State is the folder for what must survive; "" for none. It is made if missing.
	State string
	// Files is the folder that the file server shows under /files/; "" for none.
	Files string
	// Trace gets one line of JSON for each message, if not nil.
	Trace io.Writer
	// Events is told what happens, if not nil: one event at a time, by any
	// goroutine. It must return soon and not call the Sim.
	Events func(Event)
	// Applications are client ids that are let in as they are, may publish to
	// every topic and see the messages to all devices.
	Applications []string
	// Login says whether a client may connect whom the cloud admits; all may if nil.
	Login func(client, user, password string) bool
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Sim is a running simulator. Its methods may be called by any goroutine.
type Sim struct {
	cfg    Config
	cloud  Cloud
	book   *Book
	faults *faults
	trace  *trace
	broker *mochi.Server

	listener net.Listener
	files    *http.Server
	control  *http.Server
	face     *http.Server
	at       Endpoints

	work sync.WaitGroup
	done chan struct{} // closed by Close

	telling sync.Mutex // for Events

	mu      sync.Mutex
	closing bool
	conns   map[*conn]bool
	seen    map[string]Client
	served  map[string]Served
	etags   map[string]digests
}

// Endpoints are the addresses of a running simulator. They are also in
// endpoints.json of its folder.
type Endpoints struct {
	Plane   string `json:"plane,omitempty"` // Config.Plane
	Broker  string `json:"broker"`          // tcp://host:port or tls://host:port
	Files   string `json:"files"`           // http://host:port/files/ or https
	Face    string `json:"face,omitempty"`  // http://host:port or https, if the cloud speaks HTTP
	Control string `json:"control"`         // http://host:port
}

// Client is what the simulator knows of the connections of a device.
type Client struct {
	Connected bool      `json:"connected"`
	Connects  int       `json:"connects"`
	Last      time.Time `json:"last,omitzero"` // when it last connected
}

// Start opens everything, or nothing and says why. Close ends it.
func Start(cfg Config, cloud Cloud) (_ *Sim, err error) {
	for _, address := range []*string{&cfg.Listen, &cfg.FilesListen, &cfg.ControlListen, &cfg.FaceListen} {
		*address = cmp.Or(*address, "127.0.0.1:0")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := checkLoopback(cfg.ControlListen); err != nil {
		return nil, err
	}
	if cfg.State != "" {
		if err := os.MkdirAll(cfg.State, 0o700); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	s := &Sim{cfg: cfg, cloud: cloud, faults: newFaults(), done: make(chan struct{}), trace: &trace{to: cfg.Trace, now: cfg.Now},
		conns: map[*conn]bool{}, seen: map[string]Client{}, served: map[string]Served{}, etags: map[string]digests{}}
	if s.book, err = openBook(cfg.State); err != nil {
		return nil, err
	}
	if err := cloud.Open(s); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	if err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%w: control on %q, expected an address of this machine such as 127.0.0.1:0", ErrConfig, address)
	}
	return nil
}

func (s *Sim) open() error {
	s.at.Plane = s.cfg.Plane
	s.broker = mochi.New(&mochi.Options{
		InlineClient:           true,
		SysTopicResendInterval: 1 << 20, // nobody may read them
		Capabilities:           capabilities(),
		Logger:                 slog.New(slog.DiscardHandler),
	})
	if err := s.broker.AddHook(&hook{sim: s, replies: map[*mochi.Client][]Message{}}, nil); err != nil {
		return err
	}
	if err := s.broker.Serve(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return err
	}
	scheme := "tcp://"
	if s.cfg.TLS != nil {
		listener, scheme = tls.NewListener(listener, s.cfg.TLS), "tls://"
	}
	s.listener = listener
	s.at.Broker = scheme + listener.Addr().String()
	if s.files, err = s.serve(s.cfg.FilesListen, http.HandlerFunc(s.serveFiles), s.cfg.FilesTLS, &s.at.Files); err != nil {
		return err
	}
	s.at.Files = cmp.Or(s.cfg.FilesURL, s.at.Files+"/files/")
	if face, ok := s.cloud.(Face); ok {
		if s.face, err = s.serve(s.cfg.FaceListen, face, s.cfg.TLS, &s.at.Face); err != nil {
			return err
		}
	}
	if s.control, err = s.serve(s.cfg.ControlListen, s.controls(), nil, &s.at.Control); err != nil {
		return err
	}
	s.work.Go(s.accept)
	return s.writeEndpoints()
}

// maxPending is how many messages wait for a client that does not read, before
// they get lost. Each client costs 8 bytes for each of them, so that the broker's
// own 8192 would be most of what a thousand devices need.
const maxPending = 2048

// capabilities of the clouds that are played: no retained messages, no QoS 2.
func capabilities() *mochi.Capabilities {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumPacketSize = maxPacket
	c.MaximumQos = 1
	c.RetainAvailable = 0
	c.MinimumProtocolVersion = 4
	c.MaximumClientWritesPending = maxPending
	return c
}

func (s *Sim) serve(address string, h http.Handler, secure *tls.Config, at *string) (*http.Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	scheme := "http://"
	*at = listener.Addr().String()
	if secure != nil {
		listener, scheme = tls.NewListener(listener, secure), "https://"
	}
	*at = scheme + *at
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	s.work.Go(func() { _ = server.Serve(listener) }) // ends with Close
	return server, nil
}

func (s *Sim) writeEndpoints() error {
	if s.cfg.State == "" {
		return nil
	}
	data, err := json.MarshalIndent(s.at, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.cfg.State, "endpoints.json"), append(data, '\n'))
}

// Endpoints are the addresses that devices and people use.
func (s *Sim) Endpoints() Endpoints { return s.at }

// Now is the simulator's clock.
func (s *Sim) Now() time.Time { return s.cfg.Now() }

// Book has the records of the devices.
func (s *Sim) Book() *Book { return s.book }

// Connected says whether a device has a connection, or an application has
// that may speak for it.
func (s *Sim) Connected(device string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[device].Connected || slices.ContainsFunc(s.cfg.Applications, func(id string) bool { return s.seen[id].Connected })
}

// Throttled says whether a cloud is to answer a device's request with its word
// for "too many"; each asking is an occasion of [FaultThrottled].
func (s *Sim) Throttled(device string) bool { return s.faults.hit(FaultThrottled, device) }

// Expired says whether a face is to refuse a device's request as with an
// expired token; each asking is an occasion of [FaultToken]. Logins at the
// broker are refused without a cloud's doing.
func (s *Sim) Expired(device string) bool { return s.faults.hit(FaultToken, device) }

// Disconnect ends the connections of a device.
func (s *Sim) Disconnect(device string) { s.drop(device) }

// Wait waits until a record is as ok wants it, or ctx ends.
func (s *Sim) Wait(ctx context.Context, device string, ok func(Record) bool) (Record, error) {
	for {
		r, changed := s.book.watch(device)
		if ok(r) {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, fmt.Errorf("wait for %s: %w", device, context.Cause(ctx))
		}
	}
}

// Clients are the devices that have been connected.
func (s *Sim) Clients() map[string]Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Client{}
	for id, c := range s.seen {
		out[id] = c
	}
	return out
}

func (s *Sim) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// Close ends everything and waits for it, and closes a cloud that is an
// [io.Closer]. The error is that of the trace, if it could not be written, and
// the cloud's. A second call only waits.
func (s *Sim) Close() error {
	s.mu.Lock()
	again := s.closing
	if !again {
		s.closing = true
		close(s.done)
	}
	s.mu.Unlock()
	if again {
		s.work.Wait()
		return nil
	}
	var errs []error
	for _, server := range []*http.Server{s.files, s.face, s.control} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	s.drop("")
	s.work.Wait()
	if cloud, ok := s.cloud.(io.Closer); ok {
		errs = append(errs, cloud.Close()) // before the broker, to which it may still send
	}
	if s.broker != nil {
		errs = append(errs, s.broker.Close())
	}
	return errors.Join(append(errs, s.trace.err())...)
}

// Seen notes that a device spoke over HTTP, which has no connection to see.
func (s *Sim) Seen(device string) {
	s.mu.Lock()
	known := s.seen[device]
	known.Last, known.Connects = s.cfg.Now(), known.Connects+1
	s.seen[device] = known
	s.mu.Unlock()
	if known.Connects == 1 {
		s.Tell(Event{Kind: EventConnected, Client: device})
	}
}

// Trace writes a line for what was said over HTTP: direction is up or down,
// topic is the method and the path, and for what goes down the status.
func (s *Sim) Trace(client, direction, topic string, payload []byte) {
	s.trace.line(Line{Client: client, Direction: direction, Topic: topic, Payload: string(payload)})
}
