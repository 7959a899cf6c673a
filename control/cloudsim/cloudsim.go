// Package cloudsim plays a cloud on one machine: a broker, a file server and
// the cloud's half of the shadow update pattern, for demos and tests.
//
// [Start] opens them; [Sim.Push] wants something of a device, [Sim.Wait] waits
// until the cloud knows how it went, [Sim.SetFault] makes the world worse. A
// simulator that runs elsewhere is driven through a [Remote].
//
// A device is whoever connects under its id. It sees its own topics alone.
// What a device reports is on disk before it is acknowledged, if there is a
// folder for it, so that a simulator may be killed and started again. Sessions
// and messages under way are lost then, as with a broker that forgets; a delta
// is published again to a device that subscribes and is not yet as desired.
//
// It is no cloud: identities are whatever the configuration says, and nothing
// here is meant to be reached from a network that is not trusted.
package cloudsim

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
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
	// TLS is for the broker; plain TCP if nil. If clients show certificates,
	// the common name must be the client id.
	TLS *tls.Config
	// State is the folder for what must survive; "" for none. It is made if missing.
	State string
	// Files is the folder that the file server shows under /files/; "" for none.
	Files string
	// Trace gets one line of JSON for each message, if not nil.
	Trace io.Writer
	// Events is told what happens, if not nil: one event at a time, by any
	// goroutine. It must return soon and not call the Sim.
	Events func(Event)
	// Applications are client ids that may use every topic.
	Applications []string
	// Login says whether a client may connect; everybody may if nil.
	Login func(client, user, password string) bool
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Sim is a running simulator. Its methods may be called by any goroutine.
type Sim struct {
	cfg    Config
	cloud  *cloud
	faults *faults
	trace  *trace
	broker *mochi.Server

	listener net.Listener
	files    *http.Server
	control  *http.Server
	at       Endpoints

	work sync.WaitGroup
	done chan struct{} // closed by Close

	telling sync.Mutex // for Events

	mu      sync.Mutex
	closing bool
	conns   map[*conn]bool
	seen    map[string]Client
	served  map[string]Served
	etags   map[string]etag
}

// Endpoints are the addresses of a running simulator. They are also in
// endpoints.json of its folder.
type Endpoints struct {
	Broker  string `json:"broker"`  // tcp://host:port or tls://host:port
	Files   string `json:"files"`   // http://host:port/files/
	Control string `json:"control"` // http://host:port
}

// Client is what the simulator knows of a client id.
type Client struct {
	Connected bool      `json:"connected"`
	Connects  int       `json:"connects"`
	Last      time.Time `json:"last,omitzero"` // when it last connected
}

// Start opens everything, or nothing and says why. Close ends it.
func Start(cfg Config) (_ *Sim, err error) {
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	cfg.FilesListen = cmp.Or(cfg.FilesListen, "127.0.0.1:0")
	cfg.ControlListen = cmp.Or(cfg.ControlListen, "127.0.0.1:0")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := checkLoopback(cfg.ControlListen); err != nil {
		return nil, err
	}
	s := &Sim{cfg: cfg, faults: newFaults(), done: make(chan struct{}), trace: &trace{to: cfg.Trace, now: cfg.Now},
		conns: map[*conn]bool{}, seen: map[string]Client{}, served: map[string]Served{}, etags: map[string]etag{}}
	if s.cloud, err = openCloud(cfg.State, cfg.Now, s.tell); err != nil {
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
	s.broker = mochi.New(&mochi.Options{
		InlineClient:           true,
		SysTopicResendInterval: 1 << 20, // nobody may read them
		Capabilities:           capabilities(),
		Logger:                 slog.New(slog.DiscardHandler),
	})
	if err := s.broker.AddHook(&hook{sim: s, replies: map[*mochi.Client][]message{}}, nil); err != nil {
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
	s.work.Go(s.accept)
	if s.files, err = s.serve(s.cfg.FilesListen, http.HandlerFunc(s.serveFile), &s.at.Files); err != nil {
		return err
	}
	s.at.Files += "/files/"
	if s.control, err = s.serve(s.cfg.ControlListen, s.controls(), &s.at.Control); err != nil {
		return err
	}
	return s.writeEndpoints()
}

// capabilities of the clouds that are played: no retained messages, no QoS 2.
func capabilities() *mochi.Capabilities {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumPacketSize = maxPacket
	c.MaximumQos = 1
	c.RetainAvailable = 0
	c.MinimumProtocolVersion = 4
	return c
}

func (s *Sim) serve(address string, h http.Handler, at *string) (*http.Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	*at = "http://" + listener.Addr().String()
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

// Clients are the client ids that have been connected.
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

// Close ends everything and waits for it. The error is that of the trace, if
// it could not be written. A second call only waits.
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
	for _, server := range []*http.Server{s.files, s.control} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	s.drop("")
	s.work.Wait()
	if s.broker != nil {
		errs = append(errs, s.broker.Close())
	}
	return errors.Join(append(errs, s.trace.err())...)
}
