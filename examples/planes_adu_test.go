package examples_test

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/engine"
)

// Of an Azure deployment the whole file is fetched first, then a difference, which
// is left alone if it is not of our kind.
func TestPlanesADU(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		spoil      bool
		state      engine.EndState
		whole      int // requests for the whole file
	}{
		{name: "a difference of ours", file: "b.udelta", state: engine.Succeeded},
		{name: "a difference of another kind", file: "b.diff", state: engine.Succeeded, whole: 2},
		{name: "a damaged difference", file: "b.udelta", spoil: true, state: engine.RolledBack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, from := filepath.Join(planes(t), "adu"), serve(t)
			flow := filepath.Join(dir, "update.yaml")
			old, first, second := system("1.0.0", "ok"), system("20.0", "ok"), system("21.0", "ok")
			patch := difference(t, first, second)
			writeFile(t, filepath.Join(dir, "slot-a.img"), old)
			from.put("/v20.0", first)
			from.put("/v21.0", second)
			from.put("/"+tt.file, patch)
			if tt.spoil {
				from.put("/"+tt.file, damaged(patch))
			}
			change := func(text string) string {
				return deploy(t, text, from.URL, tt.file, map[string][]byte{"20.0": first, "21.0": second}, first, patch)
			}
			config, all := conversation(t, "../control/adu/testdata/delta.txt")
			got := update(t, from, dir, flow, ask(t, dialectOf(t, "adu", config), all, 1, change))
			if got.State != engine.Succeeded {
				t.Fatalf("the first deployment ended %s: %s", got.State, got.Message)
			}
			slots(t, dir, "b", old, first)
			got = update(t, from, dir, flow, ask(t, dialectOf(t, "adu", config), all, 2, change))
			if got.State != tt.state {
				t.Errorf("ended %s (%s, %s), want %s", got.State, got.Code, got.Message, tt.state)
			}
			if from.asked["/v21.0"] != tt.whole {
				t.Errorf("the whole file was asked for %d times, want %d", from.asked["/v21.0"], tt.whole)
			}
			if tt.state != engine.Succeeded {
				t.Logf("%s: %s", got.Code, got.Message)
				slots(t, dir, "b", readFile(t, filepath.Join(dir, "slot-a.img")), first)
				return
			}
			slots(t, dir, "a", second, first)
		})
	}
}

// service signs deployments, with the keys of the dialect's tests.
func service(t *testing.T) manifest.Signer {
	t.Helper()
	raw, keys := readFile(t, "../control/adu/testdata/keys.pem"), [2]*rsa.PrivateKey{}
	for i := range keys {
		var block *pem.Block
		var err error
		block, raw = pem.Decode(raw)
		if keys[i], err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	return manifest.Signer{RootKid: "T.R", Root: keys[0], Kid: "T.S", Key: keys[1]}
}

func serviceRoots(t *testing.T) string {
	t.Helper()
	raw, err := service(t).RootKeys(manifest.Package{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// deploy makes a deployment of a conversation mean images of ours by their
// versions, with a related file that makes the newest out of base, and signs it.
func deploy(t *testing.T, text, url, related string, images map[string][]byte, base, patch []byte) string {
	t.Helper()
	type file = map[string]any
	var doc struct {
		Update struct {
			Type    string         `json:"__t"`
			Service map[string]any `json:"service"`
		} `json:"deviceUpdate"`
		Version int `json:"$version"`
	}
	if json.Unmarshal([]byte(text), &doc) != nil || doc.Update.Service == nil {
		return text
	}
	fill := func(f file, content []byte) {
		f["sizeInBytes"], f["hashes"] = len(content), map[string]string{"sha256": base64Digest(content)}
	}
	update := doc.Update.Service["updateManifest"].(map[string]any)
	version := update["updateId"].(map[string]any)["version"].(string)
	main := update["files"].(map[string]any)["f1"].(file)
	fill(main, images[version])
	urls := map[string]string{"f1": url + "/v" + version + "?sig=s3cr3t"}
	if others, ok := main["relatedFiles"].(map[string]any); ok {
		r1 := others["r1"].(file)
		fill(r1, patch)
		r1["fileName"], urls["r1"] = related, url+"/"+related+"?sig=s3cr3t"
		r1["properties"].(map[string]any)["microsoft.sourceFileHash"] = base64Digest(base)
	}
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	signed := encode(update)
	signature, err := service(t).Sign(signed)
	if err != nil {
		t.Fatal(err)
	}
	doc.Update.Service["updateManifest"], doc.Update.Service["updateManifestSignature"], doc.Update.Service["fileUrls"] = signed, signature, urls
	return encode(doc)
}

func base64Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return base64.StdEncoding.EncodeToString(sum[:])
}
