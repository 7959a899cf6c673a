package agent

import "net/http"

// courier carries what fetch asks for. A plane that polls a server downloads
// from it too: such requests go with the plane's token and certificate, and trust
// whom the plane trusts. It looks at each request by itself, so that a redirect to
// another address loses all that. The token is in no input, no journal and no log.
//
// It may be shared, once planes are added no more.
type courier struct {
	next   http.RoundTripper
	planes []carried
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
			req = req.Clone(req.Context()) // a transport must not change what it is given
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
