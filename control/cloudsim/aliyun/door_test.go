package aliyun

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

func TestPublishedLogins(t *testing.T) {
	text, err := os.ReadFile("../../aliyun/testdata/examples/alibaba-auth.json")
	if err != nil {
		t.Fatal(err)
	}
	var examples []struct{ ClientID, DeviceName, ProductKey, Timestamp, DeviceSecret, Method, Expect string }
	if err := json.Unmarshal(text, &examples); err != nil || len(examples) == 0 {
		t.Fatal("no examples: ", err)
	}
	for _, x := range examples {
		cloud, err := NewOTA(Config{Accounts: cloudsim.Accounts{Product: x.ProductKey, Devices: map[string]string{x.DeviceName: x.DeviceSecret}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, password := range []string{x.Expect, strings.ToLower(x.Expect)} {
			c := cloudsim.Caller{Client: x.ClientID + "|timestamp=" + x.Timestamp + ",lan=C,signmethod=" + x.Method + ",securemode=3|", User: x.DeviceName + "&" + x.ProductKey, Password: []byte(password)}
			if device, until, err := cloud.Admit(c); err != nil || device != x.DeviceName || !until.IsZero() {
				t.Errorf("%s: %s until %v, %v, want %s for ever", password, device, until, err, x.DeviceName)
			}
		}
	}
}

func TestAdmit(t *testing.T) {
	cloud, err := NewHaaS(fleet)
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]platform.Credentials{}
	for _, method := range []string{"hmacmd5", "hmacsha1", "hmacsha256"} {
		c, err := platform.Login(platform.Device{ProductKey: "a1B2c3", Name: "gw-1"}, platform.Settings{Method: method, ID: "cid"}, secret)
		if err != nil {
			t.Fatal(err)
		}
		good[method] = c
	}
	sha256 := good["hmacsha256"]
	for _, tt := range []struct {
		name                 string
		client, user, secret string
		refused              string // "" if it is let in
	}{
		{"MD5", good["hmacmd5"].ClientID, sha256.User, good["hmacmd5"].Password, ""},
		{"SHA-1", good["hmacsha1"].ClientID, sha256.User, good["hmacsha1"].Password, ""},
		{"SHA-256", sha256.ClientID, sha256.User, sha256.Password, ""},
		{"upper case", sha256.ClientID, sha256.User, strings.ToUpper(sha256.Password), ""},
		{"another order", "cid|ext=1,timestamp=2524608000000,_v=sdk-c-4.1,gw=0,signmethod=hmacsha256,lan=C,securemode=3|", sha256.User, sha256.Password, ""},
		{"white space between the pairs", "cid|securemode=3,\n        signmethod=hmacsha256,\n        timestamp=2524608000000|", sha256.User, sha256.Password, ""},
		{"white space in the id", "c id" + sha256.ClientID[3:], sha256.User, sha256.Password, "password does not belong"},
		{"another method", strings.Replace(sha256.ClientID, "hmacsha256", "hmacsha1", 1), sha256.User, sha256.Password, "password does not belong"},
		{"another id", "cie" + sha256.ClientID[3:], sha256.User, sha256.Password, "password does not belong"},
		{"another timestamp", strings.Replace(sha256.ClientID, "2524608000000", "1", 1), sha256.User, sha256.Password, "password does not belong"},
		{"timestamp left out", strings.Replace(sha256.ClientID, ",timestamp=2524608000000", "", 1), sha256.User, sha256.Password, "password does not belong"},
		{"another device with the same secret", sha256.ClientID, "gw-2&a1B2c3", sha256.Password, "password does not belong"},
		{"one byte less", sha256.ClientID, sha256.User, sha256.Password[2:], "password does not belong"},
		{"no password", sha256.ClientID, sha256.User, "", "password does not belong"},
		{"unknown device", sha256.ClientID, "gw-9&a1B2c3", sha256.Password, "no device a1B2c3.gw-9"},
		{"another product", sha256.ClientID, "gw-1&other", sha256.Password, "no device other.gw-1"},
		{"no user", sha256.ClientID, "", sha256.Password, "DEVICENAME&PRODUCTKEY"},
		{"no bars", "cid", sha256.User, sha256.Password, "form ID|key=value"},
		{"other mode", strings.Replace(sha256.ClientID, "securemode=2", "securemode=-2", 1), sha256.User, sha256.Password, "securemode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			device, _, err := cloud.Admit(cloudsim.Caller{Client: tt.client, User: tt.user, Password: []byte(tt.secret)})
			switch {
			case tt.refused == "" && (err != nil || device != "gw-1"):
				t.Errorf("%q, %v, want gw-1", device, err)
			case tt.refused != "" && (!errors.Is(err, cloudsim.ErrRefused) || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("error %v, want ErrRefused with %q", err, tt.refused)
			case err != nil && (strings.Contains(err.Error(), secret) || tt.secret != "" && strings.Contains(err.Error(), tt.secret)):
				t.Errorf("error %v holds a secret", err)
			}
		})
	}
}

func TestPermit(t *testing.T) {
	cloud, err := NewOTA(fleet)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		topic              string
		subscribe, publish bool
	}{
		{"/ota/device/upgrade/a1B2c3/gw-1", true, false},
		{"/ota/device/inform/a1B2c3/gw-1", true, true},
		{"/ota/device/+/a1B2c3/gw-1", true, true}, // the broker takes no wildcards in publications
		{"/sys/a1B2c3/gw-1/thing/ota/firmware/get", true, true},
		{"/sys/a1B2c3/gw-1/thing/ota/firmware/get_reply", true, false},
		{"/sys/a1B2c3/gw-1/thing/service/hli_service_upgrade_push", true, false},
		{"/sys/a1B2c3/gw-1/thing/service/hli_service_upgrade_push_reply", true, true},
		{"/sys/a1B2c3/gw-1/thing/event/hli_event/post", true, true},
		{"/sys/a1B2c3/gw-1/thing/event/hli_event/post_reply", true, false},
		{"/sys/a1B2c3/gw-1/#", true, true},
		{"/shadow/get/a1B2c3/gw-1", true, true},
		{"/ext/ntp/a1B2c3/gw-1/response", true, true},
		{"/a1B2c3/gw-1/user/any", true, true},
		{"/a1B2c3/gw-1/any", false, false},
		{"/ota/device/upgrade/a1B2c3/gw-2", false, false},
		{"/ota/device/upgrade/a1B2c3/+", false, false},
		{"/ota/device/upgrade/other/gw-1", false, false},
		{"/ota/device/upgrade/+/gw-1", false, false},
		{"/sys/+/gw-1/thing/event/hli_event/post", false, false},
		{"/sys/a1B2c3/#", false, false},
		{"/#", false, false},
		{"#", false, false},
		{"", false, false},
		{"ota/device/upgrade/a1B2c3/gw-1", false, false},
		{"x/ota/device/upgrade/a1B2c3/gw-1", false, false},
	} {
		for publish, want := range map[bool]bool{false: tt.subscribe, true: tt.publish} {
			if got := cloud.Permit("gw-1", tt.topic, publish) == cloudsim.Allowed; got != want {
				t.Errorf("%q: allowed %v, want %v (publish %v)", tt.topic, got, want, publish)
			}
		}
	}
}

// open gives a cloud in a simulator, with a folder for its state.
func open(t testing.TB, c cloudsim.Cloud, state string) *cloudsim.Sim {
	t.Helper()
	s, err := cloudsim.Start(cloudsim.Config{State: state}, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestOversize(t *testing.T) {
	cloud := must(NewOTA(fleet))
	s := open(t, cloud, "")
	payload := `{"id":"1","params":{"version":"1.0.0","more":"` + strings.Repeat("x", platform.MaxPayload) + `"}}`
	if out, err := cloud.Take(cloudsim.Message{Device: "gw-1", Topic: "/ota/device/inform/a1B2c3/gw-1", Payload: []byte(payload)}); len(out) > 0 || err != nil {
		t.Errorf("%v, %v, want nothing", out, err)
	}
	if r, _ := s.Book().Look("gw-1"); strings.Contains(string(r.Doc), "1.0.0") {
		t.Errorf("record %s, want none", r.Doc)
	}
}

// What is not durable is not acknowledged.
func TestStateCannotBeWritten(t *testing.T) {
	for name, tt := range map[string]struct {
		cloud cloudsim.Cloud
		topic string
		text  string
	}{
		"ota inform":   {must(NewOTA(fleet)), "/ota/device/inform/a1B2c3/gw-1", `{"id":"1","params":{"version":"1.0.0"}}`},
		"ota progress": {must(NewOTA(fleet)), "/ota/device/progress/a1B2c3/gw-1", `{"id":"1","params":{"step":"-1"}}`},
		"haas query":   {must(NewHaaS(fleet)), "/sys/a1B2c3/gw-1/thing/event/hli_event_upgrade_query/post", `{"id":1,"params":{"app":[]}}`},
		"haas app.result": {must(NewHaaS(fleet)), "/sys/a1B2c3/gw-1/thing/event/hli_event/post",
			`{"id":1,"params":{"eventType":"haas.upgrade","eventName":"app.result","argInt":200,"ext":{"appId":"8800100099990000","appNewVersion":"0.0.2"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			s := open(t, tt.cloud, state)
			if o, ok := tt.cloud.(*OTA); ok {
				if _, _, err := o.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j1", Device: "gw-1",
					Software: cloudsim.Software{URL: "https://files.example/fw", Version: "2.0.0", Size: 1, MD5: strings.Repeat("0", 32)}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(state + "/devices"); err != nil {
				t.Fatal(err)
			}
			before, _ := s.Book().Look("gw-1")
			out, err := tt.cloud.Take(cloudsim.Message{Device: "gw-1", Topic: tt.topic, Payload: []byte(tt.text)})
			if !errors.Is(err, cloudsim.ErrState) || len(out) > 0 {
				t.Errorf("%v, %v, want ErrState and no answer", out, err)
			}
			if after, _ := s.Book().Look("gw-1"); string(after.Doc) != string(before.Doc) {
				t.Errorf("record %s, want %s as before", after.Doc, before.Doc)
			}
		})
	}
}

// A thousand devices speak at once, and each is heard.
func TestManyDevices(t *testing.T) {
	accounts := cloudsim.Accounts{Product: "a1B2c3", Devices: map[string]string{}}
	for i := range 1000 {
		accounts.Devices[fmt.Sprintf("gw-%d", i)] = secret
	}
	cloud := must(NewOTA(Config{Accounts: accounts}))
	s := open(t, cloud, "")
	done, err := s.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j1", All: true,
		Software: cloudsim.Software{URL: "https://files.example/fw", Version: "2.0.0", Size: 1, MD5: strings.Repeat("0", 32)}})
	if err != nil || len(done) != 1000 {
		t.Fatalf("%d done, %v, want 1000", len(done), err)
	}
	var all sync.WaitGroup
	for name := range accounts.Devices {
		all.Go(func() {
			for _, m := range []struct{ topic, text string }{
				{"/ota/device/inform/", `{"id":"1","params":{"version":"1.0.0"}}`},
				{"/ota/device/progress/", `{"id":"2","params":{"step":"50"}}`},
				{"/ota/device/inform/", `{"id":"3","params":{"version":"2.0.0"}}`},
			} {
				if _, err := cloud.Take(cloudsim.Message{Device: name, Topic: m.topic + "a1B2c3/" + name, Payload: []byte(m.text)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, name := range s.Book().Devices() {
		if r, _ := s.Book().Look(name); len(r.Ends) != 1 || r.Ends[0].Outcome != cloudsim.Succeeded {
			t.Fatalf("%s: ends %+v, want one good one", name, r.Ends)
		}
	}
}

// Whatever a client says, it is answered or refused, and nothing panics.
func FuzzTake(f *testing.F) {
	clouds := []cloudsim.Cloud{must(NewOTA(fleet)), must(NewHaaS(fleet))}
	for i, c := range clouds {
		s := open(f, c, "")
		o := cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j1", Device: "gw-1", Software: cloudsim.Software{URL: "https://files.example/fw", Version: "2.0.0", Size: 1, MD5: strings.Repeat("0", 32)}}
		if i == 1 {
			o.Set = map[string]any{"appId": "8800100099990000"}
		}
		if _, err := s.Order(f.Context(), o); err != nil {
			f.Fatal(err)
		}
	}
	for _, topic := range []string{"/ota/device/inform/a1B2c3/gw-1", "/ota/device/progress/a1B2c3/gw-1", "/sys/a1B2c3/gw-1/thing/ota/firmware/get",
		"/sys/a1B2c3/gw-1/thing/event/hli_event_upgrade_query/post", "/sys/a1B2c3/gw-1/thing/event/hli_event/post",
		"/sys/a1B2c3/gw-1/thing/service/hli_service_upgrade_push_reply", "/sys/a1B2c3/gw-1/thing/event/x/post", "/a/b/c", ""} {
		for _, payload := range []string{`{"id":"1","params":{"version":"1.0.0","module":"MCU"}}`, `{"id":1,"params":{"step":"-1","desc":""}}`,
			`{"id":1,"params":{"app":[{"appId":"8800100099990000","version":"0.0.1"}]}}`,
			`{"id":1,"params":{"eventType":"haas.upgrade","eventName":"app.result","argInt":"404","ext":"{\"appId\":\"8800100099990000\",\"appNewVersion\":\"2.0.0\"}"}}`,
			`{"id":"1","code":200}`, `[]`, ``} {
			f.Add(topic, []byte(payload))
		}
	}
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		for _, c := range clouds {
			for _, device := range []string{"gw-1", ""} {
				out, err := c.Take(cloudsim.Message{Device: device, Topic: topic, Payload: payload})
				if err != nil {
					t.Errorf("error %v", err)
				}
				for _, m := range out {
					if !json.Valid(m.Payload) || !strings.Contains(m.Topic, m.Device) {
						t.Errorf("answer %+v", m)
					}
				}
			}
			c.Permit("gw-1", topic, true)
			c.Subscribed("gw-1", topic)
			if _, _, err := c.Admit(cloudsim.Caller{Client: topic, User: string(payload), Password: payload}); err == nil {
				t.Errorf("%q is let in", topic)
			}
		}
	})
}
