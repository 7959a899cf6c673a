package aliyun_test

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/aliyun"
)

func TestPublishedExamples(t *testing.T) {
	text, err := os.ReadFile("testdata/examples/alibaba-auth.json")
	if err != nil {
		t.Fatal(err)
	}
	var examples []struct{ ClientID, DeviceName, ProductKey, Timestamp, DeviceSecret, Method, Expect string }
	if err := json.Unmarshal(text, &examples); err != nil || len(examples) == 0 {
		t.Fatal("no examples: ", err)
	}
	for _, x := range examples {
		at, err := strconv.ParseInt(x.Timestamp, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		d := aliyun.Device{ProductKey: x.ProductKey, Name: x.DeviceName}
		c, err := aliyun.Login(d, aliyun.Settings{ID: x.ClientID, Method: x.Method, Timestamp: at}, x.DeviceSecret)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.EqualFold(c.Password, x.Expect) || c.User != x.DeviceName+"&"+x.ProductKey {
			t.Errorf("user %s, password %s, want %s", c.User, c.Password, x.Expect)
		}
		c.Password = x.Expect
		if err := aliyun.Check(c, x.DeviceSecret); err != nil {
			t.Errorf("the published password is refused: %v", err)
		}
	}
}

func TestLogin(t *testing.T) {
	d := aliyun.Device{ProductKey: "a1B2c3", Name: "gw-1"}
	for _, tt := range []struct {
		name     string
		settings aliyun.Settings
		want     string
	}{
		{"the usual", aliyun.Settings{}, "a1B2c3.gw-1|securemode=2,signmethod=hmacsha256,timestamp=2524608000000|"},
		{"without TLS", aliyun.Settings{Plain: true, Method: "hmacsha1"}, "a1B2c3.gw-1|securemode=3,signmethod=hmacsha1,timestamp=2524608000000|"},
		{"all said", aliyun.Settings{ID: "cid", Method: "hmacmd5", Timestamp: 7}, "cid|securemode=2,signmethod=hmacmd5,timestamp=7|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := aliyun.Login(d, tt.settings, "s3cr3t")
			if err != nil || c.ClientID != tt.want || c.User != "gw-1&a1B2c3" {
				t.Fatalf("%+v, %v, want the client id %s", c, err, tt.want)
			}
			if err := aliyun.Check(c, "s3cr3t"); err != nil {
				t.Error(err)
			}
			if err := aliyun.Check(c, "other"); !errors.Is(err, aliyun.ErrLogin) {
				t.Errorf("another secret: %v, want ErrLogin", err)
			}
		})
	}
	for _, tt := range []struct {
		name   string
		device aliyun.Device
		s      aliyun.Settings
		secret string
	}{
		{"no device", aliyun.Device{}, aliyun.Settings{}, "s3cr3t"},
		{"a topic in the name", aliyun.Device{ProductKey: "pk", Name: "a/b"}, aliyun.Settings{}, "s3cr3t"},
		{"an unknown method", d, aliyun.Settings{Method: "sha256"}, "s3cr3t"},
		{"a bar in the id", d, aliyun.Settings{ID: "a|b"}, "s3cr3t"},
		{"a long id", d, aliyun.Settings{ID: strings.Repeat("x", 65)}, "s3cr3t"},
		{"no secret", d, aliyun.Settings{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := aliyun.Login(tt.device, tt.s, tt.secret); !errors.Is(err, aliyun.ErrConfig) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("error = %v, want ErrConfig without the secret", err)
			}
		})
	}
}

func TestCheckTakesAnyOrderAndRefusesTheRest(t *testing.T) {
	// hmacsha1 over clientId12345deviceNamedeviceproductKeypk, without a timestamp, by openssl.
	const untimed = "3504e4df7ce4766d30f796ee973c9ce7fc5425cb"
	const timed = "FAFD82A3D602B37FB0FA8B7892F24A477F851A14"
	for _, tt := range []struct {
		name, id, user, password string
		ok                       bool
	}{
		{"another order, further pairs", "12345|timestamp=789,_v=sdk-c-4.1,lan=Go,signmethod=hmacsha1,gw=0,securemode=2,ext=1|", "device&pk", timed, true},
		{"lower case", "12345|securemode=3,signmethod=hmacsha1,timestamp=789|", "device&pk", strings.ToLower(timed), true},
		{"another timestamp", "12345|securemode=3,signmethod=hmacsha1,timestamp=788|", "device&pk", timed, false},
		{"no timestamp", "12345|securemode=3,signmethod=hmacsha1|", "device&pk", timed, false},
		{"signed without a timestamp", "12345|securemode=3,signmethod=hmacsha1|", "device&pk", untimed, true},
		{"another device", "12345|securemode=3,signmethod=hmacsha1,timestamp=789|", "devicf&pk", timed, false},
		{"another method", "12345|securemode=3,signmethod=hmacmd5,timestamp=789|", "device&pk", timed, false},
		{"no method", "12345|securemode=3,timestamp=789|", "device&pk", timed, false},
		{"another mode", "12345|securemode=1,signmethod=hmacsha1,timestamp=789|", "device&pk", timed, false},
		{"no bars", "12345", "device&pk", timed, false},
		{"one bar", "12345|securemode=3,signmethod=hmacsha1,timestamp=789", "device&pk", timed, false},
		{"a bar too many", "12345|securemode=3,signmethod=hmacsha1,timestamp=789||", "device&pk", timed, false},
		{"no id", "|securemode=3,signmethod=hmacsha1,timestamp=789|", "device&pk", timed, false},
		{"no user", "12345|securemode=3,signmethod=hmacsha1,timestamp=789|", "", timed, false},
		{"user of another form", "12345|securemode=3,signmethod=hmacsha1,timestamp=789|", "device", timed, false},
		{"no hexadecimal digits", "12345|securemode=3,signmethod=hmacsha1,timestamp=789|", "device&pk", "secret", false},
		{"no password", "12345|securemode=3,signmethod=hmacsha1,timestamp=789|", "device&pk", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := aliyun.Check(aliyun.Credentials{ClientID: tt.id, User: tt.user, Password: tt.password}, "secret")
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, aliyun.ErrLogin) {
				t.Errorf("error = %v, want ok %v", err, tt.ok)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || tt.password != "" && strings.Contains(err.Error(), tt.password)) {
				t.Errorf("the error %v holds a secret", err)
			}
		})
	}
}

func TestDevice(t *testing.T) {
	for _, text := range []string{"a1B2c3.gw-1", "a1B2c3&gw-1"} {
		if d, err := aliyun.ParseDevice(text); err != nil || d.String() != "a1B2c3.gw-1" {
			t.Errorf("%s is %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "gw-1", ".gw-1", "a1B2c3.", "a1B2c3.gw/1", "a1B2c3.gw+", "a-b.c", "a1B2c3." + strings.Repeat("x", 65)} {
		if _, err := aliyun.ParseDevice(text); !errors.Is(err, aliyun.ErrConfig) {
			t.Errorf("%q: error = %v, want ErrConfig", text, err)
		}
	}
	d := aliyun.Device{ProductKey: "a1B2c3", Name: "gw-1"}
	if got, want := d.Host("cn-shanghai"), "a1b2c3.iot-as-mqtt.cn-shanghai.aliyuncs.com"; got != want {
		t.Errorf("host = %s, want %s", got, want)
	}
}

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"get https://h/x?sig=s3cr3t failed", "get https://h/x failed"},
		{"two\nlines\x00\u200b", "two lines"},
		{"übermäßig", "überm …"},
	} {
		limit := 40
		if strings.HasPrefix(tt.text, "ü") {
			limit = 7
		}
		if got := aliyun.Redact(tt.text, limit); got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}
