package hawkbit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/control/poll"
	"github.com/updraft-ota/updraft/engine"
)

// ddi is a server with one action for one device.
type ddi struct {
	mu     sync.Mutex
	base   string
	closed bool
	heard  []string
}

func (s *ddi) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := strings.TrimPrefix("http://"+r.Host+r.URL.Path, s.base)
	deployment := `{"id": "12", "deployment": {"chunks": [{"part": "os", "version": "2.0", "artifacts": [{"filename": "a.img", "_links": {"download-http": {"href": "` + s.base + `/softwaremodules/3/artifacts/a.img"}}}]}]}}`
	switch {
	case r.Header.Get("Authorization") != "TargetToken t0k3n":
		w.WriteHeader(http.StatusUnauthorized)
	case what == "" && s.closed:
		fmt.Fprint(w, `{"config": {"polling": {"sleep": "01:00:00"}}}`)
	case what == "":
		fmt.Fprintf(w, `{"_links": {"deploymentBase": {"href": "%s/deploymentBase/12?c=1"}}}`, s.base)
	case what == "/deploymentBase/12":
		fmt.Fprint(w, deployment)
	case what == "/deploymentBase/12/feedback" && r.Method == "POST":
		var feedback struct{ Status struct{ Execution string } }
		if err := json.NewDecoder(r.Body).Decode(&feedback); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		s.heard = append(s.heard, feedback.Status.Execution)
		s.closed = s.closed || feedback.Status.Execution == "closed"
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// device runs each command at once.
type device struct {
	t    *testing.T
	link *poll.Link
	told chan string
}

func (h *device) Command(_ context.Context, c control.Command, answer func(control.In)) {
	answer(control.In{Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}})
	h.link.Post(control.In{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Run: "run-1", Command: c.ID, State: engine.Succeeded}})
}

func (h *device) Cancel(context.Context, string) { h.t.Error("cancelled") }

func (h *device) Delivered(_ context.Context, report string) { h.told <- report }

func (h *device) Save(context.Context, []byte) error { return nil }

func (h *device) Log(text string) {
	if strings.Contains(text, "t0k3n") {
		h.t.Error("the token is in the log: ", text)
	}
}

// TestOverHTTP plays the dialect against a server that asks for the token.
func TestOverHTTP(t *testing.T) {
	server := &ddi{}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	server.base = listener.URL + "/DEFAULT/controller/v1/gw-1"
	c := hawkbit.Config{URL: listener.URL, Device: "gw-1"}
	d, err := hawkbit.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	authorize := func(address string) (string, error) {
		if !c.Ours(address) {
			return "", nil
		}
		return hawkbit.Authorization(hawkbit.TargetToken, []byte("t0k3n\n"))
	}
	h := &device{t: t, told: make(chan string, 10)}
	if h.link, err = poll.New(poll.Config{Authorize: authorize, Spread: -1}, d, h); err != nil {
		t.Fatal(err)
	}
	over := errors.New("the test is over")
	ctx, stop := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.link.Run(ctx) }()
	select {
	case id := <-h.told:
		if id != "run-1.0" {
			t.Errorf("delivered %s, want run-1.0", id)
		}
	case <-time.After(10 * time.Second):
		t.Error("no report was delivered")
	}
	stop(over)
	if err := <-ended; !errors.Is(err, over) {
		t.Errorf("Run ends with %v, want the cause", err)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if !slices.Contains(server.heard, "closed") || slices.Index(server.heard, "closed") != len(server.heard)-1 {
		t.Errorf("the server heard %q, want closed once, at the end", server.heard)
	}
}
