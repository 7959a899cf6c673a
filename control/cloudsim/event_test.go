package cloudsim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// eventText is an event without its time.
func eventText(e cloudsim.Event) string {
	return fmt.Sprintf("%s %s %q %q %q %q %q %q %d", e.Kind, e.Client, e.Done.Job, e.Done.URL, e.Done.Text, e.End.Result, e.End.Code, e.End.Message, e.End.Arrivals)
}

func TestEvents(t *testing.T) {
	events := make(chan cloudsim.Event, 100)
	s := start(t, cloudsim.Config{Events: func(e cloudsim.Event) { events <- e }, Now: func() time.Time { return time.Unix(1000, 0) }})
	want := func(text string) {
		t.Helper()
		select {
		case e := <-events:
			if got := eventText(e); got != text || !e.Time.Equal(time.Unix(1000, 0)) {
				t.Errorf("event %s at %v, want %s", got, e.Time, text)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("no event came, want %s", text)
		}
	}
	c := connect(t, s, "gw-1")
	want(`connected gw-1 "" "" "" "" "" "" 0`)
	if _, err := s.Push("gw-1", map[string]any{"jobID": "j-1", "softwareURL": "http://host/v2?sig=s"}); err != nil {
		t.Fatal(err)
	}
	want(`order gw-1 "j-1" "http://host/v2" "shadow 1" "" "" "" 0`)
	report := func(body string) {
		c.publish("state/gw-1/update", `{"clientToken":"t","state":{"reported":`+body+`}}`)
	}
	report(`{"progress":{"done":1}}`) // is none
	report(`{"jobID":"j-1","result":"FAILURE","error":{"code":"probe","message":"late"}}`)
	want(`report gw-1 "" "" "" "FAILURE" "probe" "late" 1`)
	report(`{"jobID":"j-1","result":"FAILURE","error":{"code":"probe","message":"late"}}`)
	want(`report gw-1 "" "" "" "FAILURE" "probe" "late" 2`)
	report(`{"jobID":"j-2","result":"FAILURE","error":"` + strings.Repeat("é", 300) + `"}`)
	want(fmt.Sprintf(`report gw-1 "" "" "" "FAILURE" "" %q 1`, strings.Repeat("é", 256)))
	c.publish("state/gw-1/update", "jobID:j-3 SUCCESS")
	want(`report gw-1 "" "" "" "SUCCESS" "" "" 1`)
	second := connect(t, s, "gw-1") // takes over, so nobody has gone
	want(`connected gw-1 "" "" "" "" "" "" 0`)
	if !c.closed() {
		t.Error("the first connection stays")
	}
	_ = second.conn.Close()
	want(`gone gw-1 "" "" "" "" "" "" 0`)
	connect(t, s, "gw-2")
	want(`connected gw-2 "" "" "" "" "" "" 0`)
	if err := s.Close(); err != nil { // ends the connection, which is no news
		t.Fatal(err)
	}
	if len(events) > 0 {
		t.Errorf("after the end came %s", eventText(<-events))
	}
}

// What a simulator tells elsewhere is what it tells here.
func TestRemoteTellsTheSame(t *testing.T) {
	s := start(t, cloudsim.Config{Files: t.TempDir()})
	if _, err := s.Push("gw-1", map[string]any{"n": json.RawMessage("12345678901234567890"), "v": json.RawMessage("1.10")}); err != nil {
		t.Fatal(err)
	}
	r := cloudsim.Remote{Control: s.Endpoints().Control}
	got, err := r.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := s.State(); fmt.Sprintf("%v", got) != fmt.Sprintf("%v", want) || got.Folder == "" {
		t.Errorf("State = %v, want %v", got, want)
	}
	_, err = r.SetFault(t.Context(), cloudsim.Fault{Kind: "x"})
	if err == nil || strings.Count(err.Error(), cloudsim.ErrConfig.Error()) != 1 {
		t.Errorf("SetFault = %v, want its reason once", err)
	}
}

// Only a simulator that refuses says that a request makes no sense.
func TestRemoteErrors(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		code       int
		config     bool
	}{
		{"refused", "bad simulator settings: no", http.StatusBadRequest, true},
		{"broken", "disk full", http.StatusInternalServerError, false},
		{"something else listens", "what?", http.StatusNotFound, false},
		{"no JSON", "<html>", http.StatusOK, false},
	} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.code)
			_, _ = w.Write([]byte(tt.body))
		}))
		_, err := cloudsim.Remote{Control: other.URL}.State(t.Context())
		if err == nil || errors.Is(err, cloudsim.ErrConfig) != tt.config {
			t.Errorf("%s: %v, is ErrConfig: want %v", tt.name, err, tt.config)
		}
		other.Close()
	}
}

// The code of an end is kept with it.
func TestEndsKeepTheirCode(t *testing.T) {
	folder := t.TempDir()
	s := start(t, cloudsim.Config{State: folder})
	c := connect(t, s, "gw-1")
	c.publish("state/gw-1/update", `{"state":{"reported":{"jobID":"j-1","result":"FAILURE","error":{"code":"hash","message":"differs"}}}}`)
	c.want(4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, cloudsim.Config{State: folder})
	ends := again.Device("gw-1").Ends
	if !slices.ContainsFunc(ends, func(e cloudsim.End) bool { return e.Code == "hash" && e.Message == "differs" }) {
		t.Errorf("ends = %+v, want one with its code", ends)
	}
}
