package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/adu/manifest"
)

// aduSigners read the keys that the dialect is tested with: two clouds, of
// which the second has another root.
func aduSigners(t *testing.T) [2]manifest.Signer {
	t.Helper()
	raw, err := os.ReadFile("../../control/adu/testdata/keys.pem")
	if err != nil {
		t.Fatal(err)
	}
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		block, rest := pem.Decode(raw)
		if block == nil {
			t.Fatalf("%d keys, want 3", i)
		}
		if keys[i], err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			t.Fatal(err)
		}
		raw = rest
	}
	return [2]manifest.Signer{{RootKid: "T.R", Root: keys[0], Kid: "T.S", Key: keys[1]}, {RootKid: "X.R", Root: keys[2], Kid: "T.S", Key: keys[1]}}
}

// aduFiles writes what the cases below name into a folder of their own.
func aduFiles(t *testing.T) string {
	t.Helper()
	dir, signers := t.TempDir(), aduSigners(t)
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = `{"manifestVersion":"5","updateId":{"provider":"P","name":"N","version":"1.0"},"instructions":{"steps":[{"handler":"a/b:1"}]}}`
	const detached = `{"manifestVersion":"5","detachedManifestFileId":"f","files":{"f":{"fileName":"a\u001b[2J.json","sizeInBytes":11,"hashes":{"sha256":"uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="}}}}`
	sign := func(name string, s manifest.Signer, text string) {
		signature, err := s.Sign(text)
		if err != nil {
			t.Fatal(err)
		}
		action, err := json.Marshal(map[string]any{"updateManifest": text, "updateManifestSignature": signature})
		if err != nil {
			t.Fatal(err)
		}
		write(name, action)
	}
	sign("action.json", signers[0], text)
	sign("stranger.json", signers[1], text)
	sign("detached.json", signers[0], detached)
	sign("version9.json", signers[0], strings.Replace(text, `"5"`, `"9"`, 1))
	for name, p := range map[string]manifest.Package{
		"roots-1.json": {Version: 1}, "roots-2.json": {Version: 2}, "roots-3.json": {Version: 3},
		"test-1.json": {Version: 1, Test: true}, "test-2.json": {Version: 2, Test: true},
		"off-root.json": {Version: 2, DisabledKids: []string{"T.R"}}, "off-key.json": {Version: 2, DisabledKeys: []*rsa.PublicKey{&signers[0].Key.PublicKey}},
	} {
		raw, err := signers[0].RootKeys(p)
		if err != nil {
			t.Fatal(err)
		}
		write(name, raw)
	}
	raw, err := signers[1].RootKeys(manifest.Package{Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	write("roots-x.json", raw)
	write("list.json", []byte("[]"))
	write("empty.json", []byte("{}"))
	write("large.json", make([]byte, maxTwin+1))
	return dir
}

// TestAduVerdicts holds exit code and reason of each kind of file together.
func TestAduVerdicts(t *testing.T) {
	t.Chdir(aduFiles(t))
	const trust, keys = "verify --root-keys roots-1.json ", "rootkeys verify --root-keys roots-1.json "
	for _, tt := range []struct {
		args string
		code int
		want string // the reason, or a part of the message
	}{
		{trust + "action.json", 0, "Success"},
		{trust + "detached.json", 0, "Success"},
		{"verify --root-keys test-1.json action.json", 0, "Success"},
		{"verify action.json", 3, "MissingRootKid"},
		{trust + "stranger.json", 3, "MissingRootKid"},
		{"verify --root-keys off-root.json action.json", 3, "DisallowedRootKid"},
		{"verify --root-keys off-key.json action.json", 3, "DisallowedSigningKey"},
		{trust + "version9.json", 3, "UnsupportedUpdateManifestVersion"},
		{trust + "empty.json", 3, "NoUpdateManifest"},
		{trust + "list.json", 2, "list.json: InvalidActionJson: the action is no JSON object"},
		{trust + "none.json", 2, "none.json: no such file"},
		{trust + ".", 2, "is a directory"},
		{trust + "large.json", 2, "file too large"},
		{"verify --root-keys empty.json action.json", 2, "empty.json: RootKeyPkgFailJsonParse"},
		{"verify --root-keys none.json action.json", 2, "none.json: no such file"},
		{keys + "roots-1.json", 0, "Success"},
		{keys + "roots-2.json", 0, "Success"},
		{keys + "roots-2.json --in-use roots-2.json", 0, "Success"},
		{keys + "roots-3.json --in-use roots-2.json", 0, "Success"},
		{keys + "roots-2.json --in-use roots-3.json", 3, "RootKeyPackageOlder"},
		{"rootkeys verify --root-keys roots-2.json roots-1.json", 3, "RootKeyPackageOlder"},
		{"rootkeys verify roots-2.json", 3, "SignatureForKeyNotFound"},
		{keys + "roots-x.json", 3, "SignatureForKeyNotFound"},
		{keys + "test-2.json", 3, "RootKeyTestPkgOnProdAgent"},
		{"rootkeys verify --root-keys test-1.json test-2.json", 0, "Success"},
		{"rootkeys verify --root-keys test-1.json roots-2.json", 3, "RootKeyProdPkgOnTestAgent"},
		{keys + "empty.json", 2, "empty.json: RootKeyPkgFailJsonParse"},
		{keys + "list.json", 2, "list.json: RootKeyPkgFailJsonParse"},
		{keys + "roots-2.json --in-use none.json", 2, "none.json: no such file"},
		{keys + "roots-2.json --in-use roots-x.json", 2, "--in-use roots-x.json: no device with these root keys uses it: SignatureForKeyNotFound"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"adu"}, strings.Fields(tt.args)...)
			code := run(append(args, "--json"), strings.NewReader(""), &stdout, &stderr, func(string) string { return "" })
			if code != tt.code {
				t.Errorf("exit code = %d, want %d", code, tt.code)
			}
			if tt.code == exitUsage {
				if !strings.Contains(stderr.String(), tt.want) || stdout.Len() > 0 {
					t.Errorf("stderr %q, stdout %q; want %q in stderr alone", stderr.String(), stdout.String(), tt.want)
				}
				return
			}
			var v aduVerdict
			if err := json.Unmarshal(stdout.Bytes(), &v); err != nil {
				t.Fatalf("%v in %q, stderr %q", err, stdout.String(), stderr.String())
			}
			if accept := v.Verdict == "accept"; string(v.Reason) != tt.want || accept != (code == 0) || accept != (v.Detail == "") || accept != (v.Extended == "") {
				t.Errorf("verdict = %+v, want the reason %s", v, tt.want)
			}
		})
	}
}

// TestAduManifestCannotSteerATerminal shows a manifest whose steps are elsewhere, in a
// file with a name that would clear the screen.
func TestAduManifestCannotSteerATerminal(t *testing.T) {
	t.Chdir(aduFiles(t))
	var stdout, stderr bytes.Buffer
	code := run([]string{"adu", "verify", "--root-keys", "roots-1.json", "detached.json"}, strings.NewReader(""), &stdout, &stderr, func(string) string { return "" })
	const want = "detached.json: accept: Success\n" +
		"  file a\uFFFD[2J.json: 11 bytes, sha256 b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9\n" +
		"  the steps are in the manifest a\uFFFD[2J.json\n"
	if code != 0 || stdout.String() != want || stderr.Len() > 0 {
		t.Errorf("code %d, stdout %q, stderr %q; want 0 and %q", code, stdout.String(), stderr.String(), want)
	}
}

// TestThePageOfAduVerify runs every command of docs/adu-verify.md with the
// really signed example, and wants exactly what the page shows.
func TestThePageOfAduVerify(t *testing.T) {
	commands, shown := console(t, "../../docs/adu-verify.md")
	if len(commands) < 5 {
		t.Fatalf("it shows %d commands, want at least 5", len(commands))
	}
	const testdata = "../../control/adu/manifest/testdata/"
	keys, err := os.ReadFile(testdata + "adu-prod-rootkeys.json")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(testdata + "adu-signed.json")
	if err != nil {
		t.Fatal(err)
	}
	var actions []struct {
		Service json.RawMessage `json:"service"`
	}
	if err := json.Unmarshal(raw, &actions); err != nil || len(actions) != 2 {
		t.Fatalf("%d actions, %v", len(actions), err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"rootkeys.json": string(keys), "action.json": `{"deviceUpdate":{"__t":"c","service":` + string(actions[1].Service) + `}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shell := exec.Command("sh", "-e", "-c", strings.Join(commands, "\n"))
	shell.Dir = dir
	out, err := shell.CombinedOutput()
	if want := strings.Join(shown, "\n") + "\n"; err != nil || string(out) != want {
		t.Fatalf("%v\n%s\nthe page shows\n%s", err, out, want)
	}
}
