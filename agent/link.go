package agent

import (
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/control/poll"
	"github.com/updraft-ota/updraft/internal/document"
)

// link keeps one plane's dialect in touch with its cloud: over a broker, or by
// asking a server again and again. Post and status may be called by any goroutine.
type link interface {
	Run(ctx context.Context) error
	Post(in control.In)
	status() PlaneStatus
}

type brokerLink struct{ *mqtt.Link }

func (l brokerLink) status() PlaneStatus {
	st := l.Status()
	return PlaneStatus{Connected: st.Connected, Ready: st.Ready, Since: st.Since, Attempts: st.Attempts,
		Waiting: st.Waiting, Reports: st.Reports, Error: textOf(st.Err)}
}

type pollLink struct{ *poll.Link }

func (l pollLink) status() PlaneStatus {
	st := l.Status()
	return PlaneStatus{Connected: st.Connected, Ready: st.Ready, Since: st.Since, Attempts: st.Attempts,
		Reports: st.Reports, Error: textOf(st.Err)}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// newLink makes the plane's dialect, which goes on from what the last one
// saved, and its connection. It starts nothing. tune, if not nil, may change the
// settings of the connection.
func (p Plane) newLink(saved []byte, h mqtt.Host, tune func(*mqtt.Config)) (link, error) {
	speaks, known := dialects[p.Dialect]
	if !known {
		return nil, fmt.Errorf("plane %s: %s", p.Name, document.Unknown("dialect", p.Dialect, sortedKeys(dialects)))
	}
	d, err := speaks.make(p.words, saved)
	if err != nil {
		return nil, fmt.Errorf("plane %s: %w", p.Name, err)
	}
	c := p.broker
	c.Login = speaks.signIn(p.words, c.URL, p.key)
	c.PlainRequests = speaks.plain && p.words["plain"] == "true"
	if tune != nil {
		tune(&c)
	}
	var l link
	if speaks.token != nil {
		l, err = p.newPoll(c, d, h)
	} else {
		var broker *mqtt.Link
		broker, err = mqtt.New(c, d, h)
		l = brokerLink{broker}
	}
	if err != nil {
		return nil, fmt.Errorf("plane %s: %w", p.Name, err)
	}
	return l, nil
}

// newPoll makes a link that asks a server. What a broker's settings say of
// certificates, times and sockets counts for it too.
func (p Plane) newPoll(c mqtt.Config, d control.Dialect, h mqtt.Host) (link, error) {
	l, err := poll.New(poll.Config{Authorize: p.authorize, TLS: c.TLS, RequestTimeout: c.AnswerTimeout, Clock: c.Clock, Dial: c.Dial}, d, h)
	return pollLink{l}, err
}

// authorize gives the header for a request to an address of the plane's server,
// "" for all others. The token is read anew each time.
func (p Plane) authorize(address string) (string, error) {
	if !p.key.Set() || !p.ours(address) {
		return "", nil
	}
	token, err := p.key.Reveal()
	if err != nil {
		return "", err
	}
	return dialects[p.Dialect].token(p.scheme, token)
}

// ours says whether an address is one of the plane's server, of those that its token is for.
func (p Plane) ours(address string) bool { return dialects[p.Dialect].ours(p.words, address) }
