package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Each cloud starts with a device of its own, keeps the key that it made, takes
// an order for it, and says what it keeps.
func TestSimPlanes(t *testing.T) {
	for _, plane := range simPlanes() {
		t.Run(plane.name, func(t *testing.T) {
			state, files := filepath.Join(t.TempDir(), "state"), t.TempDir()
			if err := os.WriteFile(filepath.Join(files, "v2.img"), []byte("version two"), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"sim", plane.name, "--state", state, "--files", files}
			if plane.accounts {
				args = append(args, "--device", "gw-1")
			}
			keys := ""
			for range 2 {
				c := begin(t, args...)
				c.stdout.want(t, "control  http://127.0.0.1:")
				if plane.accounts {
					name := filepath.Join(state, "keys", "gw-1")
					c.stdout.want(t, "key      "+name+"\n")
					key, err := os.ReadFile(name)
					if info, statErr := os.Stat(name); err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
						t.Errorf("the key: %v %v %v", info, err, statErr)
					}
					if keys == "" {
						keys = string(key)
					}
					if text, _ := c.stdout.look(); keys != string(key) || strings.Contains(text, strings.TrimSpace(keys)) {
						t.Errorf("the key is another one now, or printed:\n%s", text)
					}
				}
				c.stop()
				c.end(t, exitSucceeded)
			}
			c := begin(t, append(args, "--json")...)
			c.stdout.want(t, "\n")
			line, _ := c.stdout.look()
			at := decoded[cloudsim.Endpoints](t, line)
			if at.Plane != plane.name || (at.Face != "") != (plane.name == "hawkbit" || plane.host != "") {
				t.Errorf("endpoints %+v", at)
			}
			s := &simulator{call: c, plane: plane.name, at: at, state: state}
			push := []string{"push", "--device", "gw-1", "--url", "v2.img", "--version", "2.0.0", "--job", "17"}
			switch plane.name {
			case "azurehub":
				push = append(push, "--set", "shape=twin")
			case "haas":
				push = append(push, "--set", "appId=\"8800100099990000\"")
			}
			out, _ := s.sub(t, push...).end(t, exitSucceeded)
			if !strings.HasPrefix(out, "job 17 for gw-1: ") {
				t.Errorf("push prints %q", out)
			}
			c.stderr.want(t, "gw-1 is to do job 17")
			out, _ = s.sub(t, "show", "--json").end(t, exitSucceeded)
			if d, ok := decoded[simShown](t, out).Devices["gw-1"]; !ok || d.Doc == nil {
				t.Errorf("show prints %s", out)
			}
			out, _ = s.sub(t, "show").end(t, exitSucceeded)
			if !strings.HasPrefix(out, "gw-1: never connected\n") {
				t.Errorf("show prints %s", out)
			}
			c.stop()
			c.end(t, exitSucceeded)
		})
	}
	noGoroutines(t)
}

// Root keys are made once, are the ones that the simulator signs with, and are
// read by the code that verifies.
func TestSimKeys(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	first, _ := begin(t, "sim", "adu", "keys", "--state", state).end(t, exitSucceeded)
	again, _ := begin(t, "sim", "adu", "keys", "--state", state).end(t, exitSucceeded)
	if first != again || !json.Valid([]byte(first)) {
		t.Errorf("keys prints %s and %s", first, again)
	}
	signer, err := simSigner(state)
	if err != nil {
		t.Fatal(err)
	}
	text := `{"manifestVersion":"5","updateId":{"provider":"P","name":"N","version":"1.0"},"instructions":{"steps":[{"handler":"a/b:1"}]}}`
	signature, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(state, "rootkeys.json")
	if err := os.WriteFile(name, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := readRoots(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.VerifyText(text, signature, roots); err != nil {
		t.Errorf("what it signs is refused: %v", err)
	}
	if err := os.WriteFile(filepath.Join(state, simKeysFile), []byte("no keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, say := begin(t, "sim", "adu", "keys", "--state", state).end(t, exitUsage); !strings.Contains(say, "expected two RSA keys") {
		t.Errorf("damaged keys: %s", say)
	}
}

func TestSimAccounts(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := file("good.yaml", "product: GATEWAYS01\ndevices:\n  gw-1: c2VjcmV0\n")
	tencent, hub := simPlanes()[6], simPlanes()[0]
	if tencent.name != "tencent" || hub.name != "adu" {
		t.Fatal("the planes have another order")
	}
	f := simFlags{plane: tencent, devices: good, device: []string{"gw-1", "gw-2"}, state: filepath.Join(dir, "state")}
	a, keys, err := f.accounts()
	if err != nil || a.Product != "GATEWAYS01" || a.Devices["gw-1"] != "c2VjcmV0" || len(a.Devices["gw-2"]) != 44 || len(keys) != 1 {
		t.Errorf("accounts %+v, %v, %v", a, keys, err)
	}
	if a, _, err := (simFlags{plane: hub}).accounts(); err != nil || a.Host != "localhost" || a.Product != "" {
		t.Errorf("accounts %+v, %v", a, err)
	}
	for _, tt := range []struct{ args, want string }{
		{"tencent --state " + dir + "/a", "no devices"},
		{"tencent --state " + dir + "/a --devices " + file("bad.yaml", "device: {}"), `unknown key "device"`},
		{"tencent --state " + dir + "/a --devices " + file("short.yaml", "devices: {gw-1: '*'}"), `device "gw-1"`},
		{"tencent --state " + dir + "/a --devices " + dir + "/none", "none"},
		{"tencent --state= --device gw-1", "--device makes a key"},
		{"adu --state= --devices " + good, "--state '' has no place"},
		{"azurehub --state " + dir + "/a --device gw-1 --host a/b", "host"},
		{"tencent --state " + dir + "/a --device gw-1 --https", "--https wants --tls-cert"},
		{"tencent --state " + dir + "/a --device gw-1 --files-url x", "--files-url: expected"},
		{"tencent --state " + dir + "/a --device gw-1 --http-listen 8080", `--http-listen "8080": expected host:port`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			_, say := begin(t, append([]string{"sim"}, strings.Fields(tt.args)...)...).end(t, exitUsage)
			if !strings.Contains(say, tt.want) || strings.Contains(say, "c2VjcmV0") {
				t.Errorf("says %q, want %q in it", say, tt.want)
			}
		})
	}
}

// A folder belongs to one cloud.
func TestSimFoldersAreOfOneCloud(t *testing.T) {
	state := t.TempDir()
	s := startSim(t, state)
	_, say := begin(t, "sim", "tencent", "show", "--state", state).end(t, exitUsage)
	if !strings.Contains(say, "plays awsiot, not tencent") {
		t.Errorf("says %q", say)
	}
	s.stop()
	s.end(t, exitSucceeded)
	_, say = begin(t, "sim", "tencent", "--state", state, "--device", "gw-1").end(t, exitUsage)
	if !strings.Contains(say, "belongs to a simulator of awsiot") {
		t.Errorf("says %q", say)
	}
}
