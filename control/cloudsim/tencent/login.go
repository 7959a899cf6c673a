package tencent

import (
	"crypto/subtle"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	device "github.com/updraft-ota/updraft/control/tencent"
)

// Admit lets a device in whose client id is {product}{device}, and whose user
// name says that too, then sdkappid and connection (whatever they are), then a
// time in the future. The time is in seconds, though one SDK writes
// milliseconds and another the largest number there is. The password is the
// HMAC of the user name as it came. A device without a secret shows a
// certificate for its client id instead; its password and its time may be any.
//
// A connection goes on when the time has passed: the vendor says nothing else.
func (c *Cloud) Admit(who cloudsim.Caller) (name string, until time.Time, err error) {
	if name, err = c.admit(who); err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", cloudsim.ErrRefused, err)
	}
	return name, time.Time{}, nil
}

func (c *Cloud) admit(who cloudsim.Caller) (string, error) {
	name, ok := strings.CutPrefix(who.Client, c.accounts.Product)
	if !ok || !c.knows(name) {
		return "", fmt.Errorf("client id %.120q, expected product id %s and a device name", who.Client, c.accounts.Product)
	}
	words := strings.Split(who.User, ";")
	if len(words) != 4 || words[0] != who.Client {
		return "", fmt.Errorf("user name of %d words, expected %s;{sdkappid};{connection};{expiry}", len(words), who.Client)
	}
	secret := c.accounts.Devices[name]
	if secret == "" {
		return name, checkCertificate(who)
	}
	if err := c.checkExpiry(words[3]); err != nil {
		return "", err
	}
	return name, checkPassword(who, []byte(secret))
}

func (c *Cloud) checkExpiry(text string) error {
	expiry, err := strconv.ParseInt(text, 10, 64)
	if now := c.sim.Now().Unix(); err != nil {
		return fmt.Errorf("expiry %.40q in the user name, expected seconds since 1970", text)
	} else if expiry <= now {
		return fmt.Errorf("the user name has expired: %d, and it is %d", expiry, now)
	}
	return nil
}

// checkPassword signs anew, over the user name as it came.
func checkPassword(who cloudsim.Caller, secret []byte) error {
	_, method, ok := strings.Cut(string(who.Password), ";")
	if !ok || method == "" { // which would be the default of Sign
		return fmt.Errorf("password without a method, expected {hex};%s or {hex};%s", device.HMACSHA256, device.HMACSHA1)
	}
	want, err := device.Sign(who.User, secret, device.Method(method))
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	if subtle.ConstantTimeCompare(who.Password, []byte(want)) != 1 {
		return fmt.Errorf("password is not the %s of the user name with the device's secret, in lower-case hex", method)
	}
	return nil
}

func checkCertificate(who cloudsim.Caller) error {
	switch {
	case who.Certificate == nil:
		return fmt.Errorf("no certificate, and device %s has no secret", who.Client)
	case who.Certificate.Subject.CommonName != who.Client:
		return fmt.Errorf("certificate of %.120q, expected %s", who.Certificate.Subject.CommonName, who.Client)
	}
	return nil
}
