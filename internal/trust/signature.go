package trust

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/blake2b"
)

const (
	prehashed     = "ED"
	legacy        = "Ed"
	signatureSize = 2 + 8 + ed25519.SignatureSize
)

// Checked is what a good signature says.
type Checked struct {
	Key            Public // the key that signed
	TrustedComment string // signed together with the data; one line
}

// signatureFile is a signature file in parts.
type signatureFile struct {
	id      [8]byte
	data    []byte // over the BLAKE2b-512 of the data
	comment []byte // over data and trusted
	trusted string
}

// Prehash gives the hash that signatures are made over, BLAKE2b-512. Its sum
// goes to [VerifyDigest]. It may not be shared.
func Prehash() hash.Hash {
	h, err := blake2b.New512(nil)
	if err != nil {
		panic(err) // only a key can be wrong, and there is none
	}
	return h
}

// Sign reads r to its end and gives the content of a signature file, what
// minisign calls FILE.minisig. The trusted comment is signed too; both
// comments are one line of text, of at most 8000 and 1000 bytes. An empty
// untrusted comment becomes one that names the key. A failed read is returned
// wrapped.
func Sign(r io.Reader, key Secret, trustedComment, untrustedComment string) ([]byte, error) {
	if key.key == nil {
		return nil, errors.New("sign: there is no secret key")
	}
	if untrustedComment == "" {
		untrustedComment = "signature from updraft with key " + key.ID()
	}
	if err := checkComment(trustedComment, maxTrusted); err != nil {
		return nil, fmt.Errorf("sign: trusted comment %w", err)
	}
	if err := checkComment(untrustedComment, maxUntrusted); err != nil {
		return nil, fmt.Errorf("sign: untrusted comment %w", err)
	}
	sum, err := prehash(r)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	secret := key.key()
	data := ed25519.Sign(secret.private, sum)
	comment := ed25519.Sign(secret.private, append(slices.Clone(data), trustedComment...))

	text := []byte(untrustedPrefix + untrustedComment + "\n")
	raw := append([]byte(prehashed), secret.id[:]...)
	text = base64.StdEncoding.AppendEncode(text, append(raw, data...))
	text = append(text, "\n"+trustedPrefix+trustedComment+"\n"...)
	text = base64.StdEncoding.AppendEncode(text, comment)
	return append(text, '\n'), nil
}

func prehash(r io.Reader) ([]byte, error) {
	h := Prehash()
	if _, err := io.Copy(h, r); err != nil {
		return nil, fmt.Errorf("read the data: %w", err)
	}
	return h.Sum(nil), nil
}

// Verify reads r to its end and checks that one of keys signed exactly these
// bytes. A signature that cannot be good is refused before r is read. Errors
// wrap [ErrUntrusted], or the error of r.
func Verify(r io.Reader, signature []byte, keys []Public) (Checked, error) {
	s, err := parseSignature(signature)
	if err != nil {
		return Checked{}, err
	}
	if _, err := s.candidates(keys); err != nil {
		return Checked{}, err
	}
	sum, err := prehash(r)
	if err != nil {
		return Checked{}, fmt.Errorf("verify: %w", err)
	}
	return s.check(sum, keys)
}

// VerifyDigest is [Verify] for data that went through [Prehash] before; sum is
// its 64 bytes. Errors wrap [ErrUntrusted].
func VerifyDigest(sum, signature []byte, keys []Public) (Checked, error) {
	if len(sum) != blake2b.Size {
		return Checked{}, fmt.Errorf("%w: the digest has %d bytes, expected the %d of BLAKE2b-512", ErrUntrusted, len(sum), blake2b.Size)
	}
	s, err := parseSignature(signature)
	if err != nil {
		return Checked{}, err
	}
	return s.check(sum, keys)
}

// candidates are the keys with the signature's key id. Ids are random and can
// meet, so there may be more than one.
func (s signatureFile) candidates(keys []Public) ([]Public, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: there are no keys to check the signature with", ErrUntrusted)
	}
	var found []Public
	var known []string
	for _, k := range keys {
		if k.id == s.id {
			found = append(found, k)
		}
		known = append(known, k.ID())
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: signed with the unknown key %s (have %s)", ErrUntrusted, keyID(s.id), some(known))
	}
	return found, nil
}

func (s signatureFile) check(sum []byte, keys []Public) (Checked, error) {
	candidates, err := s.candidates(keys)
	if err != nil {
		return Checked{}, err
	}
	for _, k := range candidates {
		if !ed25519.Verify(k.key[:], sum, s.data) {
			continue
		}
		if !ed25519.Verify(k.key[:], append(slices.Clone(s.data), s.trusted...), s.comment) {
			return Checked{}, fmt.Errorf("%w: the signature's trusted comment was changed", ErrUntrusted)
		}
		return Checked{Key: k, TrustedComment: s.trusted}, nil
	}
	return Checked{}, fmt.Errorf("%w: the signature of key %s is not of this data", ErrUntrusted, keyID(s.id))
}

// parseSignature takes a signature file apart: four lines and nothing else.
// Only a missing line end after the last one is forgiven.
func parseSignature(text []byte) (signatureFile, error) {
	s, err := splitSignature(text)
	if err != nil {
		return signatureFile{}, fmt.Errorf("%w: signature %w", ErrUntrusted, err)
	}
	return s, nil
}

func splitSignature(text []byte) (signatureFile, error) {
	if len(text) > maxFile {
		return signatureFile{}, fmt.Errorf("file has %d bytes, at most %d are allowed", len(text), maxFile)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 4 {
		return signatureFile{}, fmt.Errorf("file has %d lines, expected 4", len(lines))
	}
	if _, err := parseComment(lines[0], untrustedPrefix); err != nil {
		return signatureFile{}, fmt.Errorf("line 1 %w", err)
	}
	raw, err := decodeLine(lines[1], signatureSize)
	if err != nil {
		return signatureFile{}, fmt.Errorf("line 2 %w", err)
	}
	if err := checkForm(string(raw[:2])); err != nil {
		return signatureFile{}, err
	}
	s := signatureFile{data: raw[10:]}
	copy(s.id[:], raw[2:])
	if s.trusted, err = parseComment(lines[2], trustedPrefix); err != nil {
		return signatureFile{}, fmt.Errorf("line 3 %w", err)
	}
	if s.comment, err = decodeLine(lines[3], ed25519.SignatureSize); err != nil {
		return signatureFile{}, fmt.Errorf("line 4 %w", err)
	}
	return s, nil
}

func parseComment(line, prefix string) (string, error) {
	text, ok := strings.CutPrefix(line, prefix)
	if !ok {
		return "", fmt.Errorf("does not start with %q", prefix)
	}
	return text, checkComment(text, maxFile)
}

func checkForm(form string) error {
	switch form {
	case prehashed:
		return nil
	case legacy:
		return fmt.Errorf("is of minisign's legacy form (%q), which is not accepted; sign again in the prehashed form, with updraft sign or minisign -S -H", legacy)
	}
	return fmt.Errorf("is of the unknown algorithm %q, expected %q", form, prehashed)
}
