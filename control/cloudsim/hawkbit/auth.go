package hawkbit

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
)

// The schemes of the header Authorization.
const (
	targetToken  = "TargetToken "
	gatewayToken = "GatewayToken "
)

// admit says whether a request may speak for a device. The error is for people;
// it holds no token, and the device does not get to see it.
func (c *Cloud) admit(r *http.Request, device string) error {
	header := r.Header.Get("Authorization")
	token, own := strings.CutPrefix(header, targetToken)
	gateway, all := strings.CutPrefix(header, gatewayToken)
	switch {
	case own:
		return c.admitOwn(device, token)
	case all && c.gateway == (secret{}):
		return errors.New("it shows a GatewayToken, and this tenant has none")
	case all && !same(c.gateway, gateway):
		return errors.New("its GatewayToken is wrong")
	case all:
		return checkName(device)
	case header != "":
		return errors.New("its Authorization is neither a TargetToken nor a GatewayToken")
	}
	return c.admitCertificate(r, device)
}

func (c *Cloud) admitOwn(device, token string) error {
	want, known := c.tokens[device]
	matches := same(want, token) // compared for an unknown device too
	switch {
	case !known:
		return errors.New("it shows a TargetToken, and there is no such device")
	case want == (secret{}):
		return errors.New("it shows a TargetToken, and this device needs a certificate")
	case !matches:
		return errors.New("its TargetToken is wrong")
	}
	return nil
}

func same(want secret, token string) bool {
	got := secretOf(token)
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// admitCertificate takes a verified certificate whose common name is the device.
func (c *Cloud) admitCertificate(r *http.Request, device string) error {
	want, known := c.tokens[device]
	switch {
	case r.TLS == nil || len(r.TLS.VerifiedChains) == 0:
		return errors.New("it shows neither a token nor a verified certificate")
	case !known || want != (secret{}):
		return errors.New("it shows a certificate, and no device of this name has one")
	case r.TLS.VerifiedChains[0][0].Subject.CommonName != device:
		return errors.New("its certificate is that of another device")
	}
	return nil
}
