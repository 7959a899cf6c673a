package manifest

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
)

// Limits on keys and signatures.
const (
	maxSignature = 32 << 10 // bytes of text
	minModulus   = 2048     // bits
	maxModulus   = 8192     // bits
	publicE      = 65537
)

// jws is a compact signature: header, payload and signature.
type jws struct {
	signed    string // header and payload, as they were sent
	header    []byte
	payload   string
	signature string
}

func splitJWS(text string) (jws, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return jws{}, refuse(BadStructure, "a signature has 3 sections that are not empty")
	}
	header, err := segment(parts[0])
	if err != nil {
		return jws{}, refuse(InvalidEncodingJWSHeader, "the header of a signature is no base64url")
	}
	return jws{signed: parts[0] + "." + parts[1], header: header, payload: parts[1], signature: parts[2]}, nil
}

// segment decodes a section. Only the one spelling of its bytes is taken, so
// that no two texts are the same signature.
func segment(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which package base64 passes over
		return nil, base64.CorruptInputError(0)
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// verify holds the signature to a key. It must be of RS256: with any other
// algorithm a key would be used for what it was not made for.
func (s jws) verify(key *rsa.PublicKey) error {
	if alg, err := s.headerMember("alg"); err != nil || alg != "RS256" {
		return refuse(UnsupportedAlg, "the algorithm of a signature is not RS256")
	}
	signature, err := segment(s.signature)
	if err != nil {
		return refuse(InvalidSignature, "a signature is no base64url")
	}
	sum := sha256.Sum256([]byte(s.signed))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
		return refuse(InvalidSignature, "it was not made with the key that it names")
	}
	return nil
}

// headerMember gives a text of the header.
func (s jws) headerMember(name string) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(s.header, &members); err != nil || members == nil {
		return "", refuse(InvalidEncodingJWSHeader, "the header of a signature is no JSON object")
	}
	value, ok := text(members[name])
	if !ok || value == "" {
		return "", refuse(BadStructure, "the header of a signature has no %s", name)
	}
	return value, nil
}

// attested gives the payload of a signature whose key a root has signed. The
// first thing that is wrong decides.
func attested(signature string, roots Roots) ([]byte, error) {
	if len(signature) > maxSignature {
		return nil, refuse(BadStructure, "a signature of %d bytes, the limit is %d", len(signature), maxSignature)
	}
	outer, err := splitJWS(signature)
	if err != nil {
		return nil, err
	}
	sjwk, err := outer.headerMember("sjwk")
	if err != nil {
		return nil, err
	}
	key, err := signingKey(sjwk, roots)
	if err != nil {
		return nil, err
	}
	if err := outer.verify(key); err != nil {
		return nil, err
	}
	payload, err := segment(outer.payload)
	if err != nil {
		return nil, refuse(BadStructure, "what is signed is no base64url")
	}
	return payload, nil
}

// signingKey gives the key that a root has signed.
func signingKey(sjwk string, roots Roots) (*rsa.PublicKey, error) {
	inner, err := splitJWS(sjwk)
	if err != nil {
		return nil, err
	}
	kid, err := inner.headerMember("kid")
	if err != nil {
		return nil, err
	}
	root, err := roots.key(kid)
	if err != nil {
		return nil, err
	}
	if err := inner.verify(root); err != nil {
		return nil, err
	}
	payload, err := segment(inner.payload)
	if err != nil {
		return nil, refuse(InvalidSJWKPayload, "the signing key is no base64url")
	}
	key, err := parseJWK(payload)
	if err != nil {
		return nil, err
	}
	if roots.disabled(key) {
		return nil, refuse(DisallowedSigningKey, "the signing key is disabled")
	}
	return key, nil
}

func parseJWK(payload []byte) (*rsa.PublicKey, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return nil, refuse(InvalidSJWKPayload, "the signing key is no JSON object")
	}
	n, _ := text(members["n"])
	e, _ := text(members["e"])
	if kty, ok := text(members["kty"]); n == "" || e != "AQAB" || ok && kty != "RSA" {
		return nil, refuse(InvalidSJWKPayload, "the signing key is no RSA key with n, and AQAB as e")
	}
	key := modulus(n)
	if key == nil {
		return nil, refuse(InvalidSJWKPayload, "the signing key has no modulus of %d to %d bits", minModulus, maxModulus)
	}
	return key, nil
}

// modulus makes a key of a modulus in base64; nil if it is none.
func modulus(text string) *rsa.PublicKey {
	raw, ok := anyBase64(text)
	n := new(big.Int).SetBytes(raw)
	if bits := n.BitLen(); !ok || bits < minModulus || bits > maxModulus || n.Bit(0) == 0 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: publicE}
}

// anyBase64 takes both alphabets, padded or not: keys come in either.
func anyBase64(text string) ([]byte, bool) {
	if len(text) > maxModulus {
		return nil, false
	}
	raw, err := segment(strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "=")))
	return raw, err == nil
}

// text gives a JSON text.
func text(raw json.RawMessage) (string, bool) {
	var s string
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}
