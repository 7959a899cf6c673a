package tencent

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha1" // the cloud's word for it; SHA-256 is the default
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrSecret is wrapped by errors of a device secret. They never show it.
var ErrSecret = errors.New("tencent device secret")

// clockless is a time before which a device's clock has not been set.
var clockless = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Host gives the name of the product's broker. Devices with a certificate
// connect to port 8883 by TLS, devices with a secret to port 1883.
func (c Config) Host() string { return c.Product + ".iotcloud.tencentdevices.com" }

// Connection gives what the broker asks for, to be made anew for each
// connection. The secret is the device secret as the console shows it, in base64; nil for a
// device that has a certificate instead, which needs no password. The password
// is valid until some time after renewBefore, by which the device should connect
// anew; the zero time means never.
//
// Where the clock is not set, nothing can be said about when a password ends:
// then it never does, as with the cloud's own software.
// Errors wrap [ErrConfig] or [ErrSecret].
func Connection(c Config, secret []byte, now time.Time) (clientID, user, password string, renewBefore time.Time, err error) {
	if err := c.check(); err != nil {
		return "", "", "", time.Time{}, err
	}
	life := cmp.Or(c.Lifetime, 24*time.Hour)
	expiry := int64(math.MaxInt64)
	if !now.Before(clockless) {
		expiry = now.Add(life).Unix()
	}
	clientID = c.Product + c.Device
	user = fmt.Sprintf("%s;%s;%s;%d", clientID, cmp.Or(c.App, defaultApp), connectionID(clientID, now), expiry)
	if secret == nil {
		return clientID, user, "", time.Time{}, nil
	}
	password, err = Sign(user, secret, c.Method)
	if err == nil && expiry != math.MaxInt64 {
		renewBefore = now.Add(life - min(life/4, 5*time.Minute))
	}
	return clientID, user, password, renewBefore, err
}

// connectionID gives five letters and digits that differ from connection to connection.
func connectionID(clientID string, now time.Time) string {
	sum := sha256.Sum256([]byte(clientID + strconv.FormatInt(now.UnixNano(), 10)))
	return hex.EncodeToString(sum[:])[:5]
}

// Sign gives the password that goes with a user name: its HMAC in lower-case hex, with
// the name of the method. The secret is in base64. Errors wrap [ErrSecret] or [ErrConfig].
func Sign(user string, secret []byte, m Method) (string, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(secret)))
	if err != nil || len(key) == 0 { // the error shows a part of the secret
		return "", fmt.Errorf("%w: want base64, as the console shows it", ErrSecret)
	}
	m = cmp.Or(m, HMACSHA256)
	var sum func() hash.Hash
	switch m {
	case HMACSHA256:
		sum = sha256.New
	case HMACSHA1:
		sum = sha1.New
	default:
		return "", fmt.Errorf("%w: method %.80q: want hmacsha256 or hmacsha1", ErrConfig, m)
	}
	h := hmac.New(sum, key)
	h.Write([]byte(user))
	return hex.EncodeToString(h.Sum(nil)) + ";" + string(m), nil
}
