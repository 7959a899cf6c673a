// Package aliyun is what the planes of Alibaba's IoT platform have in common:
// how a device logs in, how their JSON is read, and the book of the updates
// that the cloud has asked for.
//
// [Login] makes client id, user name and password of a [Device] from its
// secret, and [Check] is the cloud's side of the same. [Read] takes an object
// out of a message, whose members may come as numbers or as text. [Jobs] keeps
// what both dialects, control/haas and control/aliyunota, must not get wrong:
// a job is done once however often it is asked for, its end is told until the broker
// has acknowledged it, and both survive a restart. An end whose words name no job
// is told a second time only if the cloud, asked by the dialect as an [Asker], waits for it.
//
// Nothing here has sockets, threads or a clock.
package aliyun

import (
	"crypto/hmac"
	"crypto/md5"  // a method that the cloud offers; see Login
	"crypto/sha1" // likewise
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strconv"
	"strings"
)

// ErrConfig is wrapped by every error of a device's settings.
var ErrConfig = errors.New("device settings")

// ErrLogin is wrapped by every error of a login. It never holds a secret.
var ErrLogin = errors.New("login refused")

// Device names a device of the platform.
type Device struct {
	ProductKey string // letters and digits, up to 64
	Name       string // the device name: letters, digits and -_@.: up to 64
}

var (
	productKey = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	deviceName = regexp.MustCompile(`^[A-Za-z0-9_@.:-]{1,64}$`)
)

// ParseDevice reads PRODUCTKEY.DEVICENAME, the form of an agent file.
// PRODUCTKEY&DEVICENAME is understood too. Errors wrap [ErrConfig].
func ParseDevice(text string) (Device, error) {
	at := strings.IndexAny(text, ".&")
	if at < 0 {
		return Device{}, fmt.Errorf("%w: device %.140q: want PRODUCTKEY.DEVICENAME", ErrConfig, text)
	}
	d := Device{text[:at], text[at+1:]}
	return d, d.Check()
}

// Check holds the names to what can stand in a topic and in a login. Errors wrap [ErrConfig].
func (d Device) Check() error {
	switch {
	case !productKey.MatchString(d.ProductKey):
		return fmt.Errorf("%w: product key %.70q: want 1 to 64 letters and digits", ErrConfig, d.ProductKey)
	case !deviceName.MatchString(d.Name):
		return fmt.Errorf("%w: device name %.70q: want 1 to 64 letters, digits and the signs -_@.: alone", ErrConfig, d.Name)
	}
	return nil
}

// String gives PRODUCTKEY.DEVICENAME.
func (d Device) String() string { return d.ProductKey + "." + d.Name }

// Topic gives the device's own topic below a prefix such as "/ota/device/inform/".
func (d Device) Topic(prefix, suffix string) string {
	return prefix + d.ProductKey + "/" + d.Name + suffix
}

// Host gives the address of a region's public broker, such as "cn-shanghai". Port
// 1883 takes TCP and TLS, 443 TLS.
func (d Device) Host(region string) string {
	return strings.ToLower(d.ProductKey) + ".iot-as-mqtt." + region + ".aliyuncs.com"
}

// Settings says how a device logs in. The zero value is right for TLS.
type Settings struct {
	// ID is the client's own part of the client id, up to 64 bytes. The default is
	// PRODUCTKEY.DEVICENAME.
	ID string
	// Plain is set for a connection without TLS.
	Plain bool
	// Method is hmacsha256, the default, hmacsha1 or hmacmd5.
	Method string
	// Timestamp is any number that is signed too, milliseconds by custom. The
	// cloud cannot check that it is fresh, so the default is one constant, and
	// the login is the same each time.
	Timestamp int64
}

// Credentials are what a device gives in its CONNECT. They never expire.
type Credentials struct {
	ClientID, User, Password string
}

// timestamp is the one that the vendor's devices without a clock use.
const timestamp = 2524608000000

var methods = map[string]func() hash.Hash{"hmacsha256": sha256.New, "hmacsha1": sha1.New, "hmacmd5": md5.New}

// Login makes the credentials of a device. secret is the device secret, as
// text. Errors wrap [ErrConfig] and do not hold the secret.
func Login(d Device, s Settings, secret string) (Credentials, error) {
	if s.ID == "" {
		s.ID = d.String()
	}
	if s.Method == "" {
		s.Method = "hmacsha256"
	}
	if s.Timestamp == 0 {
		s.Timestamp = timestamp
	}
	mode := "2"
	if s.Plain {
		mode = "3"
	}
	switch {
	case d.Check() != nil:
		return Credentials{}, d.Check()
	case len(s.ID) > 64 || strings.ContainsAny(s.ID, "|\x00"):
		return Credentials{}, fmt.Errorf("%w: client id %.80q: want at most 64 bytes, without |", ErrConfig, s.ID)
	case methods[s.Method] == nil:
		return Credentials{}, fmt.Errorf("%w: sign method %.40q: want hmacsha256, hmacsha1 or hmacmd5", ErrConfig, s.Method)
	case secret == "":
		return Credentials{}, fmt.Errorf("%w: the device secret is empty", ErrConfig)
	}
	at := strconv.FormatInt(s.Timestamp, 10)
	return Credentials{
		ClientID: s.ID + "|securemode=" + mode + ",signmethod=" + s.Method + ",timestamp=" + at + "|",
		User:     d.Name + "&" + d.ProductKey,
		Password: hex.EncodeToString(sign(d, s.ID, s.Method, at, secret)),
	}, nil
}

// sign signs the values behind their names, in the order of the names.
func sign(d Device, id, method, timestamp, secret string) []byte {
	text := "clientId" + id + "deviceName" + d.Name + "productKey" + d.ProductKey
	if timestamp != "" {
		text += "timestamp" + timestamp
	}
	m := hmac.New(methods[method], []byte(secret))
	m.Write([]byte(text))
	return m.Sum(nil)
}

// Identify says which device a CONNECT claims to be of. Errors wrap [ErrLogin].
func Identify(user string) (Device, error) {
	name, key, ok := strings.Cut(user, "&")
	d := Device{key, name}
	if !ok || d.Check() != nil {
		return Device{}, fmt.Errorf("%w: the user name is no DEVICENAME&PRODUCTKEY", ErrLogin)
	}
	return d, nil
}

// Check is the cloud's side of [Login]: nil if the credentials are those of
// whom they name. What stands between the bars of the client id may have any
// order, and further pairs; a missing timestamp is not signed. Errors wrap [ErrLogin].
func Check(c Credentials, secret string) error {
	d, err := Identify(c.User)
	if err != nil {
		return err
	}
	id, rest, _ := strings.Cut(c.ClientID, "|")
	if rest, ok := strings.CutSuffix(rest, "|"); !ok || strings.Contains(rest, "|") || id == "" || len(id) > 64 {
		return fmt.Errorf("%w: the client id has not the form ID|key=value,…|", ErrLogin)
	}
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(strings.TrimSuffix(rest, "|"), ",") {
		key, value, _ := strings.Cut(pair, "=")
		pairs[key] = value
	}
	method := strings.ToLower(pairs["signmethod"])
	switch {
	case pairs["securemode"] != "2" && pairs["securemode"] != "3":
		return fmt.Errorf("%w: securemode is neither 2 nor 3", ErrLogin)
	case methods[method] == nil:
		return fmt.Errorf("%w: signmethod is none of hmacsha256, hmacsha1 and hmacmd5", ErrLogin)
	}
	got, err := hex.DecodeString(c.Password)
	if err != nil || secret == "" || !hmac.Equal(got, sign(d, id, method, pairs["timestamp"], secret)) {
		return fmt.Errorf("%w: the password does not belong to %s", ErrLogin, d)
	}
	return nil
}
