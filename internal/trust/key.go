package trust

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

const (
	keyAlgorithm = "Ed" // in key files of both kinds, whatever form is signed with them
	publicSize   = 2 + 8 + ed25519.PublicKeySize
)

// Public is a key that signatures are checked with. Values are comparable.
type Public struct {
	id  [8]byte
	key [ed25519.PublicKeySize]byte
}

// Secret is a key that signs. It never shows itself when it is printed, also
// as a part of something else. The zero value signs nothing.
type Secret struct {
	// A function, because fmt calls no methods on unexported fields, and looks
	// behind pointers for some verbs: a struct around a Secret prints an
	// address and not the bytes. It is nil in the zero Secret.
	key func() *secretKey
}

type secretKey struct {
	id      [8]byte
	private ed25519.PrivateKey
}

// NewKey makes a key pair from the next 40 bytes of rand, which is
// crypto/rand.Reader except in tests.
func NewKey(rand io.Reader) (Secret, Public, error) {
	var raw [8 + ed25519.SeedSize]byte
	if _, err := io.ReadFull(rand, raw[:]); err != nil {
		return Secret{}, Public{}, fmt.Errorf("read random bytes for a key: %w", err)
	}
	key := &secretKey{private: ed25519.NewKeyFromSeed(raw[8:])}
	copy(key.id[:], raw[:8])
	s := hide(key)
	return s, s.Public(), nil
}

func hide(key *secretKey) Secret { return Secret{func() *secretKey { return key }} }

// Public gives the key that checks what s signs; that of the zero Secret is
// the zero Public.
func (s Secret) Public() Public {
	if s.key == nil {
		return Public{}
	}
	key := s.key()
	p := Public{id: key.id}
	copy(p.key[:], key.private[ed25519.SeedSize:])
	return p
}

// ID names the key as minisign prints it, 16 upper-case hex digits.
func (s Secret) ID() string { return s.Public().ID() }

// String names the key without showing it.
func (s Secret) String() string {
	if s.key == nil {
		return "no secret key"
	}
	return "secret key " + s.ID() + " (hidden)"
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, s.String()) // a Formatter has no way to report
}

// ID names the key as minisign prints it, 16 upper-case hex digits. It is a
// hint to find the key, and proves nothing.
func (p Public) ID() string { return keyID(p.id) }

func keyID(id [8]byte) string { return fmt.Sprintf("%016X", binary.LittleEndian.Uint64(id[:])) }

// String is the key as one line of base64, what minisign's option -P takes.
func (p Public) String() string {
	raw := append([]byte(keyAlgorithm), p.id[:]...)
	return base64.StdEncoding.EncodeToString(append(raw, p.key[:]...))
}

// Encode gives the content of a public key file.
func (p Public) Encode() []byte {
	return []byte(untrustedPrefix + "minisign public key " + p.ID() + "\n" + p.String() + "\n")
}

// ParsePublic reads a public key: the content of a public key file, or its
// second line alone. Errors wrap [ErrKey].
func ParsePublic(text []byte) (Public, error) {
	line, err := keyLine(text, true)
	if err != nil {
		return Public{}, fmt.Errorf("%w: public key %w", ErrKey, err)
	}
	raw, err := decodeLine(line, publicSize)
	if err != nil {
		return Public{}, fmt.Errorf("%w: public key %w", ErrKey, err)
	}
	if string(raw[:2]) != keyAlgorithm {
		return Public{}, fmt.Errorf("%w: public key is of the algorithm %q, expected %q", ErrKey, raw[:2], keyAlgorithm)
	}
	var p Public
	copy(p.id[:], raw[2:])
	copy(p.key[:], raw[10:])
	return p, nil
}

// keyLine finds the line of base64 in a key file: after one line of comment,
// or, where bare is set, alone. Line ends may be those of other systems,
// because people edit these files; the key itself is covered by its length.
func keyLine(text []byte, bare bool) (string, error) {
	if len(text) > maxFile {
		return "", fmt.Errorf("file has %d bytes, at most %d are allowed", len(text), maxFile)
	}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"), "\n")
	switch {
	case len(lines) == 2 && strings.HasPrefix(lines[0], strings.TrimSpace(untrustedPrefix)):
		return lines[1], nil
	case len(lines) == 1 && bare:
		return lines[0], nil
	}
	return "", fmt.Errorf("file has %d lines, expected two: %q and the key", len(lines), untrustedPrefix+"…")
}
