package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Login is who connects, for one connection.
type Login struct {
	// ID is the MQTT client id.
	ID string
	// User and Password are "" and none where a certificate is enough.
	User     string
	Password Secret
	// Renew is when another login is needed: before the cloud ends this one. The
	// connection is made anew earlier than that, by up to a fifth of the time between,
	// so that a fleet does not come as one. Zero means never.
	Renew time.Time
}

// errRenew ends a connection whose login has been used long enough.
var errRenew = errors.New("the login is renewed")

const maxName = 65535 // bytes of an id or of a user in CONNECT

// login gives what the next CONNECT says, with the password read.
func (c *Config) login() (l Login, password string, err error) {
	if c.Login == nil {
		l = Login{ID: c.ID, User: c.User, Password: c.Password}
	} else {
		now := c.Clock.Now()
		if l, err = c.Login(now); err != nil {
			return l, "", fmt.Errorf("make the login: %w", err)
		}
		switch {
		case l.ID == "" || len(l.ID) > maxName || len(l.User) > maxName:
			return l, "", fmt.Errorf("make the login: %w: a client id is needed", ErrConfig)
		case !l.Renew.IsZero() && !l.Renew.After(now):
			return l, "", fmt.Errorf("make the login: %w: it is to be renewed at %s already", ErrConfig, l.Renew.UTC().Format(time.RFC3339))
		}
	}
	if !l.Password.Set() {
		return l, "", nil
	}
	b, err := l.Password.Reveal()
	// Editors end files with a newline, which is never part of a password.
	return l, strings.TrimRight(string(b), "\r\n"), err
}

// parting is how long a connection that is to be renewed may take to finish
// what is under way. What has not ended by then comes again with the next one.
const parting = time.Minute

// renew ends a connection in good time before its login ends: once nothing is
// under way, or else after a while.
func (l *Link) renew(ctx context.Context, o *owner, c *connection) {
	left := c.login.Renew.Sub(c.began)
	spread := left / 10
	rest := spread + time.Duration(l.cfg.Rand()*float64(spread)) // that is given away
	if l.cfg.Clock.Sleep(ctx, left-rest) != nil {
		return
	}
	if !o.send(ctx, func() { c.parting = true }) {
		return
	}
	if l.cfg.Clock.Sleep(ctx, min(rest, parting)) == nil {
		c.fail(errRenew)
	}
}

// part ends a connection that is to be renewed if nothing is under way on it.
func (o *owner) part() {
	if o.conn == nil || !o.conn.parting || o.sending || !o.live {
		return
	}
	if len(o.subs)+len(o.out.items)+len(o.pending)+len(o.conn.inbox) == 0 {
		o.conn.fail(errRenew)
	}
}
