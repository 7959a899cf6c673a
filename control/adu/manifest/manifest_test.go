package manifest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// action is one entry of the public examples.
type action struct {
	Name    string          `json:"name"`
	Service json.RawMessage `json:"service"`
	Expect  string          `json:"expect"`
	Code    Reason          `json:"code"`
}

func examples(t testing.TB) []action {
	t.Helper()
	raw, err := os.ReadFile("testdata/adu-signed.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []action
	if err := json.Unmarshal(raw, &all); err != nil || len(all) != 2 {
		t.Fatalf("%d examples, %v", len(all), err)
	}
	return all
}

func TestPublicExamplesGetTheVerdictThatTheyName(t *testing.T) {
	keys, err := os.ReadFile("testdata/adu-prod-rootkeys.json")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ParseRoots(keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range examples(t) {
		for form, text := range map[string]string{
			"service alone": string(a.Service),
			"component":     `{"deviceUpdate":{"__t":"c","service":` + string(a.Service) + `}}`,
			"twin":          `{"desired":{"deviceUpdate":{"__t":"c","service":` + string(a.Service) + `},"$version":3}}`,
		} {
			_, err := Verify([]byte(text), roots)
			if got := Why(err); got != a.Code || (err == nil) != (a.Expect == "accept") {
				t.Errorf("%s, %s: %v, want %s", a.Name, form, err, a.Code)
			}
		}
	}
}

func TestPublicExampleIsReadWhole(t *testing.T) {
	m, err := Verify(examples(t)[1].Service, Production())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.ID.String(), `{"provider":"Contoso","name":"Virtual-Vacuum","version":"20.0"}`; got != want {
		t.Errorf("id = %s, want %s", got, want)
	}
	if len(m.Steps) != 2 || m.Steps[0].Handler != "microsoft/apt:1" || m.Steps[0].Property("InstalledCriteria") != "apt-update-tree-1.0" || m.Steps[1].Reference() != "f222b9ffefaaac577" {
		t.Errorf("steps = %+v", m.Steps)
	}
	f, _ := m.File("f483750ebb885d32c")
	if f.Size != 136 || f.Name != "apt-manifest-tree-1.0.json" || f.SHA256 != "524d6fb042ff9d3e1bb4c9e0a3461226385e38bd9aaa6ebf100161ccf6f4ad7b" {
		t.Errorf("file = %+v", f)
	}
	if next, ok := m.Next(); !ok || next.ID != "f222b9ffefaaac577" {
		t.Errorf("next = %+v %v", next, ok)
	}
}

// TestEveryByteCounts changes every byte of the signed manifest and of its
// signature, each to a few others: none may pass.
func TestEveryByteCounts(t *testing.T) {
	var service struct {
		Manifest  string `json:"updateManifest"`
		Signature string `json:"updateManifestSignature"`
	}
	if err := json.Unmarshal(examples(t)[1].Service, &service); err != nil {
		t.Fatal(err)
	}
	roots, tried := Production(), 0
	if _, err := VerifyText(service.Manifest, service.Signature, roots); err != nil {
		t.Fatal(err)
	}
	try := func(what string, at int, manifest, signature string) {
		tried++
		if _, err := VerifyText(manifest, signature, roots); err == nil || !errors.Is(err, ErrRefused) {
			t.Errorf("%s with another byte %d: %v, want a refusal", what, at, err)
		}
	}
	others := func(text string, at int) []string {
		var all []string
		for _, c := range []byte{text[at] ^ 1, text[at] ^ 0x20, '\n', 'A', '='} {
			if c != text[at] {
				all = append(all, text[:at]+string([]byte{c})+text[at+1:])
			}
		}
		return append(all, text[:at]+text[at+1:], text[:at]+"\n"+text[at:])
	}
	for i := range service.Manifest {
		for _, changed := range others(service.Manifest, i) {
			try("manifest", i, changed, service.Signature)
		}
	}
	for i := range service.Signature {
		for _, changed := range others(service.Signature, i) {
			try("signature", i, service.Manifest, changed)
		}
	}
	t.Logf("%d changes of %d bytes refused", tried, len(service.Manifest)+len(service.Signature))
}

// signers are made once: keys take their time.
var signers = sync.OnceValue(func() [2]Signer {
	var keys [4]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, minModulus)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return [2]Signer{{"T.1.R", keys[0], "T.1.S", keys[1]}, {"T.2.R", keys[2], "T.2.S", keys[3]}}
})

func rootsOf(t testing.TB, s Signer, p Package) Roots {
	t.Helper()
	raw, err := s.RootKeys(p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRoots(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const simple = `{"manifestVersion":"5","updateId":{"provider":"P","name":"N","version":"1.0"},"instructions":{"steps":[{"handler":"a/b:1"}]}}`

func sign(t testing.TB, s Signer, text string) string {
	t.Helper()
	signature, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// forge makes a compact signature of anything.
func forge(t testing.TB, header, payload string, key *rsa.PrivateKey) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	signature, err := rs256(key, []byte(signed))
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + signature
}

func TestSignaturesAreRefusedByName(t *testing.T) {
	s, other := signers()[0], signers()[1]
	good := rootsOf(t, s, Package{Version: 1})
	stolen := s
	stolen.Root = other.Root // names the root, and cannot sign as it
	outer := func(sjwk string) string {
		sum := sha256.Sum256([]byte(simple))
		return forge(t, `{"alg":"RS256","sjwk":"`+sjwk+`"}`, `{"sha256":"`+base64.StdEncoding.EncodeToString(sum[:])+`"}`, s.Key)
	}
	inner := func(header, payload string) string { return outer(forge(t, header, payload, s.Root)) }
	n := base64.StdEncoding.EncodeToString(s.Key.N.Bytes())
	const kid = `{"alg":"RS256","kid":"T.1.R"}`
	text := sign(t, s, simple)
	for _, tt := range []struct {
		name, signature string
		roots           Roots
		want            Reason
	}{
		{"as the service signs", text, good, Success},
		{"signed by hand", inner(kid, `{"kty":"RSA","n":"`+n+`","e":"AQAB"}`), good, Success},
		{"empty", "", good, BadStructure},
		{"two sections", "a.b", good, BadStructure},
		{"an empty section", "a..b", good, BadStructure},
		{"four sections", text + ".x", good, BadStructure},
		{"a header that is no base64", "!!.b.c", good, InvalidEncodingJWSHeader},
		{"a header that is no JSON", forge(t, "x", "{}", s.Key), good, InvalidEncodingJWSHeader},
		{"no sjwk", forge(t, `{"alg":"RS256"}`, "{}", s.Key), good, BadStructure},
		{"an sjwk of one section", outer("x"), good, BadStructure},
		{"no root at all", text, Roots{}, MissingRootKid},
		{"an unknown root", sign(t, other, simple), good, MissingRootKid},
		{"a disabled root", text, rootsOf(t, s, Package{DisabledKids: []string{"T.1.R"}}), DisallowedRootKid},
		{"the name of a root, and another key", sign(t, stolen, simple), good, InvalidSignature},
		{"the algorithm none", outer("eyJhbGciOiJub25lIiwia2lkIjoiVC4xLlIifQ.e30.e30"), good, UnsupportedAlg},
		{"an algorithm of shared secrets", inner(`{"alg":"HS256","kid":"T.1.R"}`, "{}"), good, UnsupportedAlg},
		{"no n", inner(kid, `{"kty":"RSA","e":"AQAB"}`), good, InvalidSJWKPayload},
		{"another e", inner(kid, `{"kty":"RSA","n":"`+n+`","e":"Aw"}`), good, InvalidSJWKPayload},
		{"a short key", inner(kid, `{"kty":"RSA","n":"AQAB","e":"AQAB"}`), good, InvalidSJWKPayload},
		{"a key of another kind", inner(kid, `{"kty":"EC","n":"`+n+`","e":"AQAB"}`), good, InvalidSJWKPayload},
		{"a disabled signing key", text, rootsOf(t, s, Package{DisabledKeys: []*rsa.PublicKey{&s.Key.PublicKey}}), DisallowedSigningKey},
		{"another manifest", sign(t, s, simple+" "), good, ManifestHashMismatch},
		{"no digest", forge(t, `{"alg":"RS256","sjwk":"`+forge(t, kid, `{"n":"`+n+`","e":"AQAB"}`, s.Root)+`"}`, `{}`, s.Key), good, ManifestHashMismatch},
		{"a huge one", strings.Repeat("a", maxSignature) + ".b.c", good, BadStructure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := VerifyText(simple, tt.signature, tt.roots)
			if got := Why(err); got != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if err != nil && Why(err).Extended() == 0 {
				t.Errorf("%s has no extended result code", Why(err))
			}
		})
	}
}

func TestActionsAreRefusedByName(t *testing.T) {
	for _, tt := range []struct {
		action string
		want   Reason
	}{
		{``, InvalidActionJSON}, {`[]`, InvalidActionJSON}, {`null`, InvalidActionJSON}, {`{"deviceUpdate":3}`, InvalidActionJSON},
		{`{}`, NoUpdateManifest}, {`{"updateManifest":{}}`, NoUpdateManifest}, {`{"updateManifest":"{}"}`, ManifestValidationFailed},
		{`{"updateManifest":"{}","updateManifestSignature":null}`, ManifestValidationFailed},
		{`{"updateManifest":"{}","updateManifestSignature":""}`, BadStructure},
		{strings.Repeat(" ", maxAction+1), InvalidActionJSON},
	} {
		if _, err := Verify([]byte(tt.action), Production()); Why(err) != tt.want {
			t.Errorf("%.60s: %v, want %s", tt.action, err, tt.want)
		}
	}
}

func TestRootKeyPackages(t *testing.T) {
	s, other := signers()[0], signers()[1]
	built := rootsOf(t, s, Package{Version: 1})
	impostor := other
	impostor.RootKid = s.RootKid
	for _, tt := range []struct {
		name       string
		next, used Roots
		test       bool
		want       Reason
	}{
		{"the same", built, built, false, Success},
		{"a newer one", rootsOf(t, s, Package{Version: 2}), built, false, Success},
		{"an older one", built, rootsOf(t, s, Package{Version: 2}), false, OldPackage},
		{"of another root", rootsOf(t, other, Package{Version: 2}), built, false, SignatureForKeyNotFound},
		{"of a root that only has the name", rootsOf(t, impostor, Package{Version: 2}), built, false, SignatureValidationFailed},
		{"for tests", rootsOf(t, s, Package{Version: 2, Test: true}), built, false, TestPackage},
		{"for tests, on an agent for tests", rootsOf(t, s, Package{Version: 2, Test: true}), built, true, Success},
		{"not for tests, on an agent for tests", built, built, true, ProductionPackage},
	} {
		if _, err := built.Accept(tt.next, tt.used, tt.test); Why(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := (Roots{}).Accept(built, Roots{}, false); Why(err) != SignatureForKeyNotFound {
		t.Errorf("nobody vouches: %v, want %s", err, SignatureForKeyNotFound)
	}
	if _, err := Production().Accept(Production(), Roots{}, false); err != nil {
		t.Errorf("the public package with its two signatures: %v", err)
	}
	off := rootsOf(t, s, Package{Version: 2, DisabledKeys: []*rsa.PublicKey{&s.Key.PublicKey}})
	roots, err := built.Accept(off, Roots{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyText(simple, sign(t, s, simple), roots); Why(err) != DisallowedSigningKey {
		t.Errorf("after the package has disabled it: %v, want %s", err, DisallowedSigningKey)
	}
}

func TestRootKeyPackageIsRefusedAfterAnyChange(t *testing.T) {
	built := Production()
	var doc struct {
		Protected  json.RawMessage `json:"protected"`
		Signatures json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(production, &doc); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range doc.Protected {
		if c := doc.Protected[i]; c == ' ' || c == '\n' { // what the signed form leaves out
			continue
		}
		changed := append(json.RawMessage(nil), doc.Protected...)
		changed[i] ^= 1
		next, err := ParseRoots(fmt.Appendf(nil, `{"protected":%s,"signatures":%s}`, changed, doc.Signatures))
		if err == nil {
			_, err = built.Accept(next, Roots{}, false)
		}
		if err == nil || !errors.Is(err, ErrRefused) {
			t.Errorf("byte %d %q: %v, want a refusal", i, doc.Protected[i], err)
		}
		refused++
	}
	t.Logf("%d changed packages refused", refused)
}

func TestRootKeyPackagesThatCannotBeRead(t *testing.T) {
	n := base64.RawURLEncoding.EncodeToString(signers()[0].Root.N.Bytes())
	key := `{"keyType":"RSA","n":"` + n + `","e":65537}`
	for _, body := range []string{
		`x`, `{}`, `{"protected":3}`, `{"protected":{}}`, `{"protected":{"rootKeys":{}}}`, `{"protected":{"rootKeys":[]}}`,
		`{"protected":{"rootKeys":{"":` + key + `}}}`, `{"protected":{"rootKeys":{"a":` + key + `,"a":` + key + `}}}`,
		`{"protected":{"rootKeys":{"a":3}}}`, `{"protected":{"rootKeys":{"a":{"keyType":"EC","n":"` + n + `","e":65537}}}}`,
		`{"protected":{"rootKeys":{"a":{"keyType":"RSA","n":"` + n + `","e":3}}}}`, `{"protected":{"rootKeys":{"a":{"keyType":"RSA","n":"AQAB","e":65537}}}}`,
		`{"protected":{"rootKeys":{"a":` + key + `},"disabledSigningKeys":[{"alg":"SHA256","hash":"AA"}]}}`,
		`{"protected":{"rootKeys":{"a":` + key + `},"disabledSigningKeys":[{"alg":"MD5","hash":"AA"}]}}`,
		`{"protected":{"rootKeys":{"a":` + key + `},"disabledRootKeys":"a"}}`,
		`{"protected":{"rootKeys":{"a":` + key + `}},"signatures":[{"alg":"none","sig":""}]}`,
		strings.Repeat(" ", MaxPackage+1),
	} {
		if _, err := ParseRoots([]byte(body)); Why(err) != RootKeyPackageParse {
			t.Errorf("%.90s: %v, want %s", body, err, RootKeyPackageParse)
		}
	}
}
