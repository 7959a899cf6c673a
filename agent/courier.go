package agent

import (
	"net/http"
	"net/url"
	"sync"
)

// courier carries what fetch asks for. A plane that polls a server downloads
// from it too: such requests go with the plane's token and certificate, and trust
// whom the plane trusts. It looks at each request by itself, so that a redirect to
// another address loses all that. The token is in no input, no journal and no log.
//
// A signed address is good for a while only, and clouds sign it anew each time
// they say a command again. The run keeps the address that it was begun with, so
// the courier takes the newest query that a plane has told for the same address.
// What comes is proven as before.
//
// It may be shared, once planes are added no more.
type courier struct {
	next   http.RoundTripper
	planes []carried

	mu    sync.Mutex
	fresh map[string]string // by address without its query: the newest query
}

// maxFresh bounds the addresses with a newest query.
const maxFresh = 256

// tell has the courier know the queries of what a command brings.
func (c *courier) tell(inputs map[string]string) {
	for _, text := range inputs {
		address, err := url.Parse(text)
		if err != nil || address.RawQuery == "" || address.Scheme != "http" && address.Scheme != "https" {
			continue
		}
		query := address.RawQuery
		address.RawQuery = ""
		c.mu.Lock()
		if c.fresh == nil || len(c.fresh) >= maxFresh {
			c.fresh = map[string]string{}
		}
		c.fresh[address.String()] = query
		c.mu.Unlock()
	}
}

// renewed is a request with the newest query for its address.
func (c *courier) renewed(req *http.Request) *http.Request {
	if req.URL.RawQuery == "" {
		return req
	}
	bare := *req.URL
	bare.RawQuery = ""
	c.mu.Lock()
	query, ok := c.fresh[bare.String()]
	c.mu.Unlock()
	if !ok || query == req.URL.RawQuery {
		return req
	}
	req = req.Clone(req.Context()) // a transport must not change what it is given
	req.URL.RawQuery = query
	return req
}

// carried is a plane with what carries its requests.
type carried struct {
	ours      func(address string) bool
	authorize func(address string) (string, error)
	through   http.RoundTripper
}

// add has the courier go the way of a plane for the plane's own addresses.
func (c *courier) add(p Plane, l link) {
	if polls, ok := l.(pollLink); ok {
		c.planes = append(c.planes, carried{p.ours, p.authorize, polls.Transport()})
	}
}

// RoundTrip does one request. Only what reads gets a token, and only if it brings none.
func (c *courier) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.Header.Get("Authorization") != "" {
		return c.next.RoundTrip(req)
	}
	req = c.renewed(req)
	address := req.URL.String()
	for _, p := range c.planes {
		if !p.ours(address) {
			continue
		}
		value, err := p.authorize(address)
		if err != nil {
			return nil, err
		}
		if value != "" {
			req = req.Clone(req.Context())
			req.Header.Set("Authorization", value)
		}
		return p.through.RoundTrip(req)
	}
	return c.next.RoundTrip(req)
}

// close gives up connections that nobody uses.
func (c *courier) close() {
	for _, p := range c.planes {
		if t, ok := p.through.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections()
		}
	}
}
