package tencent

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"
)

func example(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("testdata/examples/" + name)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCapturedPassword signs the user name of a captured CONNECT, and finds the password that went with it.
func TestCapturedPassword(t *testing.T) {
	var captured []struct {
		ProductID  string `json:"productId"`
		DeviceName string `json:"deviceName"`
		Secret     string `json:"psk_base64"`
		ClientID   string `json:"clientId"`
		Username   string
		Method     Method
		Expect     string
	}
	example(t, "tencent-auth.json", &captured)
	if len(captured) == 0 {
		t.Fatal("no captured CONNECT")
	}
	for _, c := range captured {
		if got, err := Sign(c.Username, []byte(c.Secret), c.Method); err != nil || got != c.Expect {
			t.Errorf("password = %q, %v, want %q", got, err, c.Expect)
		}
		clientID, _, _, _, err := Connection(Config{Product: c.ProductID, Device: c.DeviceName, Version: "1"}, []byte(c.Secret), time.Now())
		if err != nil || clientID != c.ClientID {
			t.Errorf("client id = %q, %v, want %q", clientID, err, c.ClientID)
		}
	}
}

// TestDocumentedMessages writes each message that the documentation shows of
// devices, and reads each that it shows of the cloud.
func TestDocumentedMessages(t *testing.T) {
	var doc struct{ Up, Down []json.RawMessage }
	example(t, "tencent-messages.json", &doc)
	ours := [][]byte{
		encodeVersion("0.1"),
		encodeProgress("0.2", state{State: "downloading", Percent: "10"}),
		encodeProgress("0.2", state{State: "burning"}),
		(&ending{}).payload("0.2"),
		(&ending{Code: codeTimeout, Text: "time_out"}).payload("0.2"),
	}
	if len(doc.Up) != len(ours) || len(doc.Down) != 2 {
		t.Fatalf("%d and %d messages, want %d and 2", len(doc.Up), len(doc.Down), len(ours))
	}
	for i, want := range doc.Up {
		var w, g any
		if err := json.Unmarshal(want, &w); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ours[i], &g); err != nil || !reflect.DeepEqual(g, w) {
			t.Errorf("message %d = %s, want %s", i, ours[i], want)
		}
	}
	kind, m, err := readType(doc.Down[0])
	if a, aErr := readAnswer(m); err != nil || aErr != nil || kind != typeVersionAnswer || a != (answer{0, "success"}) {
		t.Errorf("%s = %+v, %v, %v", kind, a, err, aErr)
	}
	kind, m, err = readType(doc.Down[1])
	want := push{"0.2", "https://ota-1255858890.cos.ap-guangzhou.myqcloud.com", "36eb5951179db14a631463a37a9322a2", "708482"}
	if p, pErr := readPush(m); err != nil || pErr != nil || kind != typeUpdate || p != want {
		t.Errorf("%s = %+v, %v, %v, want %+v", kind, p, err, pErr, want)
	}
}
