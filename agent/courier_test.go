package agent

import (
	"net/http"
	"testing"
)

type noted []string

func (n *noted) RoundTrip(req *http.Request) (*http.Response, error) {
	*n = append(*n, req.URL.String())
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// A run that was begun with a signature that is too old by now goes on with the
// newest one that a plane has told, for the same address and no other.
func TestCourierTakesTheNewestSignature(t *testing.T) {
	var sent noted
	c := &courier{next: &sent}
	c.tell(map[string]string{"url": "https://host/v2?sig=2&e=9", "version": "2.0", "odd": "://?", "other": "ftp://host/v2?x"})
	for _, tt := range []struct{ asked, want string }{
		{"https://host/v2?sig=1", "https://host/v2?sig=2&e=9"},
		{"https://host/v2", "https://host/v2"},
		{"https://host/v3?sig=1", "https://host/v3?sig=1"},
		{"http://host/v2?sig=1", "http://host/v2?sig=1"},
		{"https://host:8443/v2?sig=1", "https://host:8443/v2?sig=1"},
		{"ftp://host/v2?sig=1", "ftp://host/v2?sig=1"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.asked, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := sent[len(sent)-1]; got != tt.want || req.URL.String() != tt.asked {
			t.Errorf("%s goes to %s, want %s and the request as it was", tt.asked, got, tt.want)
		}
	}
}

// What planes tell is bounded.
func TestCourierForgets(t *testing.T) {
	c := &courier{}
	for i := range 3 * maxFresh {
		c.tell(map[string]string{"url": "https://host/" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "?s"})
	}
	if len(c.fresh) == 0 || len(c.fresh) > maxFresh {
		t.Errorf("%d addresses are kept, want up to %d", len(c.fresh), maxFresh)
	}
}
