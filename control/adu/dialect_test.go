package adu_test

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/controltest"
)

// The conversations leave signing to the test. In a desired side,
//
//	"updateManifest": {…}, "updateManifestSignature": "signed by service"
//
// stands for the text of the manifest and its signature; "signed by stranger"
// is by a root key that nobody knows, "signed by service, then changed" is of a manifest with one
// blank less. A payload of {"rootKeys": VERSION} is a root key package,
// with "off": true one that disables the signing key, and {"content": {…}} a
// file. In a file entry, "hashes": {…} stands for the size and digest of that content.

// cloud signs as the service does, and as a stranger does. The keys are for
// tests alone.
var cloud = sync.OnceValue(func() [2]manifest.Signer {
	raw, err := os.ReadFile("testdata/keys.pem")
	if err != nil {
		panic(err)
	}
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			panic("want 3 keys")
		}
		if keys[i], err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			panic(err)
		}
	}
	return [2]manifest.Signer{{RootKid: "T.R", Root: keys[0], Kid: "T.S", Key: keys[1]}, {RootKid: "X.R", Root: keys[2], Kid: "T.S", Key: keys[1]}}
})

// trusted is what the devices of the conversations trust.
var trusted = sync.OnceValue(func() string {
	raw, err := cloud()[0].RootKeys(manifest.Package{Version: 1})
	if err != nil {
		panic(err)
	}
	return string(raw)
})

// signing is a dialect whose messages are signed on their way in.
type signing struct {
	control.Dialect
	fuzz bool   // topics are the filters that were subscribed to
	rid  string // of the newest publish
}

func (s *signing) Step(in control.In, emit func(control.Out)) {
	switch in.Kind {
	case control.InMessage:
		in.Payload = s.translate(in.Payload)
		if s.fuzz && strings.HasSuffix(in.Topic, "/#") {
			in.Topic = strings.TrimSuffix(in.Topic, "#")
			if strings.Contains(in.Topic, "/res/") {
				in.Topic += "200/"
			}
			in.Topic += "?$rid=" + s.rid
		}
	case control.InResponse:
		in.Payload = s.translate(in.Payload)
	}
	s.Dialect.Step(in, func(o control.Out) {
		if _, rid, ok := strings.Cut(o.Topic, "$rid="); ok && o.Kind == control.OutPublish && (strings.Contains(o.Topic, "/GET/") || s.rid == "") {
			s.rid = rid
		}
		emit(o)
	})
}

func (s *signing) translate(payload []byte) []byte {
	var doc map[string]any
	if json.Unmarshal(payload, &doc) != nil {
		return payload
	}
	if version, ok := doc["rootKeys"].(float64); ok {
		p := manifest.Package{Version: int64(version)}
		if doc["off"] == true {
			p.DisabledKeys = append(p.DisabledKeys, &cloud()[0].Key.PublicKey)
		}
		p.Test = doc["isTest"] == true
		raw, err := cloud()[0].RootKeys(p)
		if err != nil {
			panic(err)
		}
		return raw
	}
	if content, ok := doc["content"]; ok {
		return encode(content)
	}
	for _, side := range []any{doc["desired"], doc} {
		members, _ := side.(map[string]any)
		component, _ := members["deviceUpdate"].(map[string]any)
		if service, ok := component["service"].(map[string]any); ok {
			s.sign(service)
			return encode(doc)
		}
	}
	return payload
}

func (s *signing) sign(service map[string]any) {
	update, ok := service["updateManifest"].(map[string]any)
	if !ok {
		return
	}
	files, _ := update["files"].(map[string]any)
	for _, f := range files {
		entry, _ := f.(map[string]any)
		if content, ok := entry["content"]; ok {
			raw := encode(content)
			sum := sha256.Sum256(raw)
			delete(entry, "content")
			entry["sizeInBytes"], entry["hashes"] = len(raw), map[string]any{"sha256": base64.StdEncoding.EncodeToString(sum[:])}
		}
	}
	text := string(encode(update))
	service["updateManifest"] = text
	by, after, _ := strings.Cut(strings.TrimPrefix(word(service["updateManifestSignature"]), "signed by "), ", ")
	if by != "service" && by != "stranger" {
		return
	}
	signer := cloud()[0]
	if by == "stranger" {
		signer = cloud()[1]
	}
	if after == "then changed" {
		text += " "
	}
	signature, err := signer.Sign(text)
	if err != nil {
		panic(err)
	}
	service["updateManifestSignature"] = signature
}

func word(v any) string {
	s, _ := v.(string)
	return s
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

func made(fuzz bool) controltest.New {
	return func(save []byte, config map[string]string) control.Dialect {
		words := map[string]string{"manufacturer": "contoso", "model": "virtual-vacuum-v1"}
		for key, value := range config {
			words[key] = value
		}
		if words["rootKeys"] == "" {
			words["rootKeys"] = trusted()
		} else if words["rootKeys"] == "production" {
			words["rootKeys"] = ""
		}
		c, err := adu.Settings(words)
		if err != nil {
			panic(err)
		}
		d, err := adu.New(c, save)
		if err != nil {
			panic(err)
		}
		return &signing{Dialect: d, fuzz: fuzz}
	}
}

func TestConversations(t *testing.T) { controltest.Run(t, made(false), "testdata") }

func FuzzConversation(f *testing.F) {
	controltest.Fuzz(f, made(true), map[string]string{"device": "vacuum-1"}, "testdata")
}
