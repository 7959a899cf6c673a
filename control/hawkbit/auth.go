package hawkbit

import (
	"errors"
	"fmt"
	"strings"
)

// Scheme says whose token a secret is.
type Scheme string

// The schemes.
const (
	// TargetToken is the token of this device alone.
	TargetToken Scheme = "TargetToken"
	// GatewayToken is the token of a gateway: it speaks for every device of
	// the tenant. A device in the field should not have one.
	GatewayToken Scheme = "GatewayToken"
)

// ErrToken is wrapped by the errors of [Authorization].
var ErrToken = errors.New("hawkbit token")

// Authorization gives the value of the header of that name for one request.
// White space around the token, such as the newline of an editor, is no part of
// it. Errors never quote it. A device that shows a client certificate instead needs no
// header.
func Authorization(s Scheme, token []byte) (string, error) {
	if s != TargetToken && s != GatewayToken {
		return "", fmt.Errorf("%w: unknown scheme %.40q, want %s or %s", ErrToken, string(s), TargetToken, GatewayToken)
	}
	text := strings.TrimSpace(string(token))
	if text == "" || len(text) > 1024 {
		return "", fmt.Errorf("%w: it has %d bytes, want 1 to 1024", ErrToken, len(text))
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("%w: it holds blanks, control characters or letters beyond ASCII", ErrToken)
	}
	return string(s) + " " + text, nil
}
