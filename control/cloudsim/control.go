package cloudsim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// State is everything that a simulator tells over its control interface.
type State struct {
	Endpoints Endpoints         `json:"endpoints"`
	Folder    string            `json:"folder"` // Config.Files
	Devices   map[string]Record `json:"devices"`
	Clients   map[string]Client `json:"clients"`
	Faults    []Fault           `json:"faults"`
	Served    map[string]Served `json:"served"`
}

// State is everything at once.
func (s *Sim) State() State {
	st := State{Endpoints: s.at, Folder: s.cfg.Files, Devices: map[string]Record{}, Clients: s.Clients(), Faults: s.Faults(), Served: s.Served()}
	for _, name := range s.book.Devices() {
		st.Devices[name], _ = s.book.Look(name)
	}
	return st
}

// controls are POST /order, POST /fault and GET /state.
func (s *Sim) controls() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /order", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		if !readBody(w, r, &o) {
			return
		}
		done, err := s.Order(r.Context(), o)
		reply(w, done, err)
	})
	mux.HandleFunc("POST /fault", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if !readBody(w, r, &f) {
			return
		}
		err := s.SetFault(f)
		reply(w, s.Faults(), err)
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.State(), nil) })
	return local(mux)
}

// local keeps out web pages that a browser on this machine shows: they send
// an Origin, or have found the port under a name of their own.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || checkLoopback(r.Host) != nil {
			http.Error(w, "only programs of this machine", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func readBody(w http.ResponseWriter, r *http.Request, v any) bool {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPacket))
	if err == nil {
		err = decodeStrict(data, v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func reply(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, ErrConfig):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
	}
}

// Remote drives a simulator that runs elsewhere on this machine.
type Remote struct {
	// Control is the address in [Endpoints].
	Control string
}

// Order is [Sim.Order]. What was done before an error is not told.
func (r Remote) Order(ctx context.Context, o Order) (done []Done, err error) {
	err = r.call(ctx, http.MethodPost, "/order", o, &done)
	return done, err
}

// SetFault is [Sim.SetFault]. It gives the faults of the moment.
func (r Remote) SetFault(ctx context.Context, f Fault) (now []Fault, err error) {
	err = r.call(ctx, http.MethodPost, "/fault", f, &now)
	return now, err
}

// State is [Sim.State].
func (r Remote) State(ctx context.Context) (s State, err error) {
	err = r.call(ctx, http.MethodGet, "/state", nil, &s)
	return s, err
}

// callWithin bounds an answer: a direct method has a device to wait for.
const callWithin = 2 * time.Minute

func (r Remote) call(ctx context.Context, method, path string, body, answer any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.Control+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%w: control address %q", ErrConfig, r.Control)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the simulator: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	data, err = io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("ask the simulator: %w", err)
	}
	text := strings.TrimSpace(string(data))
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest:
		return fmt.Errorf("%w: %s", ErrConfig, strings.TrimPrefix(text, ErrConfig.Error()+": "))
	default:
		return fmt.Errorf("ask the simulator: %s: %.200s", res.Status, text)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(answer); err != nil {
		return fmt.Errorf("ask the simulator: its answer is none: %w", err)
	}
	return nil
}
