package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/scrypt"
)

// A secret key file holds, after its comment, these bytes in base64. From
// atID on they are the key, its checksum included, XORed with the output of
// scrypt if there is a password.
const (
	atKDF      = 2   // "Sc", or two zero bytes for no password
	atChecksum = 4   // "B2": BLAKE2b-256
	atSalt     = 6   // 32 bytes
	atOps      = 38  // little endian, libsodium's opslimit
	atMem      = 46  // little endian, libsodium's memlimit in bytes
	atID       = 54  // 8 bytes
	atPrivate  = 62  // 64 bytes: seed and public key
	atSum      = 126 // of "Ed", id and private key; zeros without a password
	secretSize = atSum + blake2b.Size256
	boxSize    = secretSize - atID

	kdfScrypt  = "Sc"
	kdfNone    = "\x00\x00"
	sumBlake2b = "B2"

	// secretComment is what minisign writes without a password too.
	secretComment = "minisign encrypted secret key"
)

// cost says how hard it is to try a password, in the terms of libsodium.
type cost struct {
	ops uint64
	mem uint64 // bytes
}

var (
	// encodeCost is what new files get: 256 MiB and about a second. minisign
	// itself takes 1 GiB, which build machines often do not have to spare.
	encodeCost = cost{1 << 23, 256 << 20}
	// costLimit is what minisign writes; more is a file made to exhaust us.
	costLimit = cost{1 << 25, 1 << 30}
)

// Encode gives the content of a secret key file, encrypted with the password,
// or readable by everybody if the password is nil. rand gives 32 bytes of salt
// and may be nil without a password. With a password it takes about a second
// and 256 MiB.
func (s Secret) Encode(password []byte, rand io.Reader) ([]byte, error) {
	return s.encode(password, rand, encodeCost)
}

func (s Secret) encode(password []byte, rand io.Reader, c cost) ([]byte, error) {
	if s.key == nil {
		return nil, errors.New("encode a secret key: there is none")
	}
	key := s.key()
	raw := make([]byte, secretSize)
	copy(raw, keyAlgorithm)
	copy(raw[atChecksum:], sumBlake2b)
	copy(raw[atID:], key.id[:])
	copy(raw[atPrivate:], key.private)
	if password != nil {
		if err := encrypt(raw, password, rand, c); err != nil {
			return nil, fmt.Errorf("encrypt %v: %w", s, err)
		}
	}
	text := []byte(untrustedPrefix + secretComment + "\n")
	text = base64.StdEncoding.AppendEncode(text, raw)
	return append(text, '\n'), nil
}

func encrypt(raw, password []byte, rand io.Reader, c cost) error {
	if len(password) == 0 {
		return errors.New("the password is empty")
	}
	copy(raw[atKDF:], kdfScrypt)
	if _, err := io.ReadFull(rand, raw[atSalt:atOps]); err != nil {
		return fmt.Errorf("read random bytes for the salt: %w", err)
	}
	binary.LittleEndian.PutUint64(raw[atOps:], c.ops)
	binary.LittleEndian.PutUint64(raw[atMem:], c.mem)
	sum := secretSum(raw)
	copy(raw[atSum:], sum[:])
	return xorStream(raw, password, c)
}

// ParseSecret reads the content of a secret key file. A password for a file
// without one is ignored. Errors wrap [ErrKey], or [ErrPassword] if the file
// is encrypted and password is nil or wrong. An encrypted file takes up to
// 1 GiB and a few seconds, as its maker chose; one that asks for more is
// refused at once.
func ParseSecret(text, password []byte) (Secret, error) {
	return parseSecret(text, password, costLimit)
}

func parseSecret(text, password []byte, limit cost) (Secret, error) {
	line, err := keyLine(text, false)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: secret key %w", ErrKey, err)
	}
	raw, err := decodeLine(line, secretSize)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: secret key %w", ErrKey, err)
	}
	if string(raw[:atKDF]) != keyAlgorithm || string(raw[atChecksum:atSalt]) != sumBlake2b {
		return Secret{}, fmt.Errorf("%w: secret key is of the algorithms %q and %q, expected %q and %q",
			ErrKey, raw[:atKDF], raw[atChecksum:atSalt], keyAlgorithm, sumBlake2b)
	}
	switch kdf := string(raw[atKDF:atChecksum]); kdf {
	case kdfNone:
		err = checkPlain(raw)
	case kdfScrypt:
		err = decrypt(raw, password, limit)
	default:
		err = fmt.Errorf("%w: secret key is encrypted with %q, expected %q or nothing", ErrKey, kdf, kdfScrypt)
	}
	if err != nil {
		return Secret{}, err
	}
	return newSecret(raw)
}

// newSecret takes the key out of the decrypted bytes. The second half of a
// private key is the public key, and signing with a wrong one gives the
// private key away, so it is computed again.
func newSecret(raw []byte) (Secret, error) {
	key := &secretKey{private: ed25519.NewKeyFromSeed(raw[atPrivate : atPrivate+ed25519.SeedSize])}
	copy(key.id[:], raw[atID:])
	if !bytes.Equal(key.private, raw[atPrivate:atSum]) {
		return Secret{}, fmt.Errorf("%w: secret key is damaged: its two halves do not belong together", ErrKey)
	}
	return hide(key), nil
}

// checkPlain accepts the checksum or the zeros that minisign writes instead.
func checkPlain(raw []byte) error {
	sum := secretSum(raw)
	stored := raw[atSum:]
	if !bytes.Equal(stored, sum[:]) && !bytes.Equal(stored, make([]byte, len(sum))) {
		return fmt.Errorf("%w: secret key is damaged: its checksum is wrong", ErrKey)
	}
	return nil
}

func decrypt(raw, password []byte, limit cost) error {
	c := cost{binary.LittleEndian.Uint64(raw[atOps:]), binary.LittleEndian.Uint64(raw[atMem:])}
	if c.ops > limit.ops || c.mem > limit.mem {
		return fmt.Errorf("%w: secret key asks for %d operations and %d bytes to decrypt it, at most %d and %d are allowed",
			ErrKey, c.ops, c.mem, limit.ops, limit.mem)
	}
	if _, p := c.scrypt(); p > maxParallel {
		return fmt.Errorf("%w: secret key asks for %d operations in only %d bytes, no program writes that", ErrKey, c.ops, c.mem)
	}
	if password == nil {
		return fmt.Errorf("%w: the file is encrypted and needs one", ErrPassword)
	}
	if err := xorStream(raw, password, c); err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	if sum := secretSum(raw); subtle.ConstantTimeCompare(sum[:], raw[atSum:]) != 1 {
		return fmt.Errorf("%w: it is wrong, or the file is damaged", ErrPassword)
	}
	return nil
}

func secretSum(raw []byte) [blake2b.Size256]byte {
	return blake2b.Sum256(append([]byte(keyAlgorithm), raw[atID:atSum]...))
}

func xorStream(raw, password []byte, c cost) error {
	n, p := c.scrypt()
	stream, err := scrypt.Key(password, raw[atSalt:atOps], n, scryptR, p, boxSize)
	if err != nil {
		return fmt.Errorf("derive the key: %w", err)
	}
	subtle.XORBytes(raw[atID:], raw[atID:], stream)
	return nil
}

const (
	scryptR     = 8
	maxParallel = 16      // minisign's files have 1
	minOps      = 1 << 15 // libsodium raises a smaller value
)

// scrypt gives the parameters N and p that libsodium picks for a cost
// (crypto_pwhash_scryptsalsa208sha256); r is always 8. N needs n KiB.
func (c cost) scrypt() (n, p int) {
	ops := max(c.ops, minOps)
	most := c.mem / (128 * scryptR)
	if ops < c.mem/32 {
		most = ops / (4 * scryptR)
	}
	size := uint64(2)
	for size <= most/2 {
		size *= 2
	}
	if ops < c.mem/32 {
		return int(size), 1
	}
	return int(size), int(min(ops/4/size, 1<<30-1)) / scryptR
}
