package manifest

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // for the production keys
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Limits on a root key package.
const (
	MaxPackage  = 16 << 10 // bytes of a root key package
	maxRootKeys = 16
	maxDisabled = 64
)

// Roots are the keys that signing keys must be signed with, and what is
// disabled. The zero value trusts nobody. Values do not change and may be shared.
type Roots struct {
	// Version is that of the root key package.
	Version int64
	// Test says that the package is for tests.
	Test bool

	order       []string // key ids, as in the package
	keys        map[string]*rsa.PublicKey
	offRoots    []string
	offSigning  [][]byte // SHA-256 of keys in the form of PKCS #1
	signed      []byte
	signatures  [][]byte
	fingerprint [sha256.Size]byte
}

//go:embed production.json
var production []byte

// Production gives the root keys of the service, as the reference agent has them built in.
func Production() Roots {
	r, err := ParseRoots(production)
	if err != nil { // a bug of ours: the file is part of the program, and tested
		panic(err)
	}
	return r
}

// ParseRoots reads a root key package. Who trusts its keys because of where
// they come from needs no more; who has older ones calls [Roots.Accept]. Errors
// are [*Refusal] with [RootKeyPackageParse].
func ParseRoots(raw []byte) (Roots, error) {
	bad := func(format string, args ...any) (Roots, error) {
		return Roots{}, refuse(RootKeyPackageParse, "root key package: "+format, args...)
	}
	if len(raw) > MaxPackage {
		return bad("%d bytes, the limit is %d", len(raw), MaxPackage)
	}
	var doc struct {
		Protected  json.RawMessage `json:"protected"`
		Signatures []struct {
			Alg string `json:"alg"`
			Sig string `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return bad("not JSON of its form")
	}
	var body struct {
		Version  int64    `json:"version"`
		Test     bool     `json:"isTest"`
		OffRoots []string `json:"disabledRootKeys"`
		Off      []struct {
			Alg  string `json:"alg"`
			Hash string `json:"hash"`
		} `json:"disabledSigningKeys"`
		Keys json.RawMessage `json:"rootKeys"`
	}
	if err := json.Unmarshal(doc.Protected, &body); err != nil {
		return bad("protected is no JSON of its form")
	}
	if len(body.OffRoots) > maxDisabled || len(body.Off) > maxDisabled || len(doc.Signatures) > maxRootKeys {
		return bad("more than %d disabled keys or %d signatures", maxDisabled, maxRootKeys)
	}
	r := Roots{Version: body.Version, Test: body.Test, offRoots: body.OffRoots, keys: map[string]*rsa.PublicKey{}}
	if err := r.readKeys(body.Keys); err != nil {
		return bad("%v", err)
	}
	for i, off := range body.Off {
		hash, ok := anyBase64(off.Hash)
		if off.Alg != "SHA256" || !ok || len(hash) != sha256.Size {
			return bad("disabledSigningKeys[%d] is no SHA256 in base64", i)
		}
		r.offSigning = append(r.offSigning, hash)
	}
	for i, s := range doc.Signatures {
		signature, ok := anyBase64(s.Sig)
		if s.Alg != "RS256" || !ok {
			return bad("signatures[%d] is no RS256 in base64", i)
		}
		r.signatures = append(r.signatures, signature)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc.Protected); err != nil {
		return bad("protected is no JSON")
	}
	r.signed = compact.Bytes()
	r.fingerprint = sha256.Sum256(r.signed)
	return r, nil
}

// readKeys keeps their order: signatures belong to keys by position.
func (r *Roots) readKeys(raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("rootKeys is no object")
	}
	for d.More() {
		t, err := d.Token()
		kid, ok := t.(string)
		if err != nil || !ok || kid == "" || len(kid) > 128 || r.keys[kid] != nil || len(r.order) >= maxRootKeys {
			return fmt.Errorf("rootKeys wants at most %d different ids of 1 to 128 bytes", maxRootKeys)
		}
		var key struct {
			Type string `json:"keyType"`
			N    string `json:"n"`
			E    int64  `json:"e"`
		}
		if err := d.Decode(&key); err != nil {
			return fmt.Errorf("root key %.40q is no JSON of its form", kid)
		}
		public := modulus(key.N)
		if key.Type != "RSA" || key.E != publicE || public == nil {
			return fmt.Errorf("root key %.40q is no RSA key of %d to %d bits with e %d", kid, minModulus, maxModulus, publicE)
		}
		r.keys[kid], r.order = public, append(r.order, kid)
	}
	if _, err := d.Token(); err != nil && err != io.EOF {
		return fmt.Errorf("rootKeys is no object")
	}
	if len(r.order) == 0 {
		return fmt.Errorf("rootKeys is empty")
	}
	return nil
}

// Accept gives the roots that hold after next was fetched: next must be signed
// by every key that r has built in, be for tests if and only if test is, and
// be no older than what is in use (the zero value of Roots: nothing is). What r
// has disabled stays so.
func (r Roots) Accept(next, inUse Roots, test bool) (Roots, error) {
	switch {
	case next.Test && !test:
		return Roots{}, refuse(TestPackage, "a root key package for tests")
	case !next.Test && test:
		return Roots{}, refuse(ProductionPackage, "a root key package that is not for tests")
	case next.Version < inUse.Version:
		return Roots{}, refuse(OldPackage, "version %d of the root key package, and %d is in use", next.Version, inUse.Version)
	}
	sum := sha256.Sum256(next.signed)
	for _, kid := range r.order {
		at := slices.Index(next.order, kid)
		if at < 0 || at >= len(next.signatures) {
			return Roots{}, refuse(SignatureForKeyNotFound, "root key %.40q has not signed the root key package", kid)
		}
		if rsa.VerifyPKCS1v15(r.keys[kid], crypto.SHA256, sum[:], next.signatures[at]) != nil {
			return Roots{}, refuse(SignatureValidationFailed, "the signature of root key %.40q over the root key package is wrong", kid)
		}
	}
	if len(r.order) == 0 {
		return Roots{}, refuse(SignatureForKeyNotFound, "no root key is known")
	}
	next.keys = maps.Clone(next.keys)
	maps.Copy(next.keys, r.keys) // an id that is built in keeps its key
	next.offRoots = slices.Concat(next.offRoots, r.offRoots)
	next.offSigning = slices.Concat(next.offSigning, r.offSigning)
	return next, nil
}

// Same says whether two packages say the same.
func (r Roots) Same(other Roots) bool { return r.fingerprint == other.fingerprint }

// Kids gives the ids of the keys, in the order of the package.
func (r Roots) Kids() []string { return slices.Clone(r.order) }

// key gives the root of that id if it may still sign.
func (r Roots) key(kid string) (*rsa.PublicKey, error) {
	key := r.keys[kid]
	switch {
	case key == nil:
		return nil, refuse(MissingRootKid, "root key %.40q is not known", kid)
	case slices.Contains(r.offRoots, kid):
		return nil, refuse(DisallowedRootKid, "root key %.40q is disabled", kid)
	}
	return key, nil
}

// disabled says whether a signing key may not sign any more.
func (r Roots) disabled(key *rsa.PublicKey) bool {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(key))
	return slices.ContainsFunc(r.offSigning, func(off []byte) bool { return bytes.Equal(off, sum[:]) })
}
