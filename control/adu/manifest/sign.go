package manifest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Signer signs as the service does, for simulators and tests: a root key
// vouches for a signing key, which vouches for manifests.
type Signer struct {
	RootKid string // such as TEST.R
	Root    *rsa.PrivateKey
	Kid     string // such as TEST.S
	Key     *rsa.PrivateKey
}

// Sign gives the signature of a manifest's text.
func (s Signer) Sign(text string) (string, error) {
	sjwk, err := compact(map[string]string{"alg": "RS256", "kid": s.RootKid}, map[string]string{
		"kty": "RSA", "n": base64.StdEncoding.EncodeToString(s.Key.N.Bytes()), "e": "AQAB", "alg": "RS256", "kid": s.Kid,
	}, s.Root)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(text))
	claims := map[string]string{"sha256": base64.StdEncoding.EncodeToString(sum[:])}
	return compact(map[string]string{"alg": "RS256", "sjwk": sjwk}, claims, s.Key)
}

func compact(header, payload map[string]string, key *rsa.PrivateKey) (string, error) {
	var sections [2]string
	for i, part := range []map[string]string{header, payload} {
		raw, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		sections[i] = base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := sections[0] + "." + sections[1]
	signature, err := rs256(key, []byte(signed))
	return signed + "." + signature, err
}

func rs256(key *rsa.PrivateKey, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(signature), nil
}

// Package is what a root key package is to say.
type Package struct {
	Version      int64
	Test         bool
	DisabledKids []string         // of root keys
	DisabledKeys []*rsa.PublicKey // signing keys
}

// RootKeys gives a root key package with the root of the signer, signed by it.
func (s Signer) RootKeys(p Package) ([]byte, error) {
	type off struct {
		Alg  string `json:"alg"`
		Hash string `json:"hash"`
	}
	type key struct {
		Type string `json:"keyType"`
		N    string `json:"n"`
		E    int    `json:"e"`
	}
	disabled, kids := []off{}, append([]string{}, p.DisabledKids...)
	for _, k := range p.DisabledKeys {
		sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(k))
		disabled = append(disabled, off{"SHA256", base64.RawURLEncoding.EncodeToString(sum[:])})
	}
	protected, err := json.Marshal(map[string]any{
		"version": p.Version, "isTest": p.Test, "disabledRootKeys": kids, "disabledSigningKeys": disabled,
		"rootKeys": map[string]key{s.RootKid: {"RSA", base64.RawURLEncoding.EncodeToString(s.Root.N.Bytes()), publicE}},
	})
	if err != nil {
		return nil, err
	}
	signature, err := rs256(s.Root, protected)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"protected": json.RawMessage(protected), "signatures": []map[string]string{{"alg": "RS256", "sig": signature}},
	})
}
