// Package trust decides which bytes updraft believes: digests, signatures,
// keys, release manifests and the floor below which no version is installed.
//
// [Open] is the first call of an update: it checks the signature over the
// bytes of a release manifest, then parses them, then compares the security
// version with the floor. [Sign] and [Verify] do the same for any stream in
// constant memory; [Prehash] with [VerifyDigest] is for a caller that reads the
// data for another reason and wants the answer at the end. [Digest] is a
// SHA-256 that survives a restart.
//
// Keys and signatures are files in the formats of the minisign program
// (https://jedisct1.github.io/minisign/), so each side reads what the other
// writes. Only the prehashed form of a signature ("ED") is made or accepted:
// the legacy form needs the whole file in memory.
//
// Nothing here reads files or keeps a floor: callers pass bytes and numbers.
// A signature proves who signed and nothing about age; that is what the floor
// is for. All functions may be called at the same time; values may be shared
// unless their comment says otherwise.
package trust

import "errors"

var (
	// ErrUntrusted is every reason not to believe some bytes: a signature that
	// is missing, damaged, of an unknown key or of other data, a malformed
	// digest, an address that a manifest may not lead to.
	ErrUntrusted = errors.New("not trusted")
	// ErrKey is a key file that is damaged, of another kind, or that asks for
	// more memory or time than a real one.
	ErrKey = errors.New("bad key file")
	// ErrPassword is an encrypted key without a password or with a wrong one;
	// damage inside the encrypted part looks the same.
	ErrPassword = errors.New("secret key password")
	// ErrManifest is a release manifest that does not follow its format. The
	// error is a [*ManifestError] with the position.
	ErrManifest = errors.New("bad release manifest")
	// ErrDowngrade is a release whose security version is below the floor.
	ErrDowngrade = errors.New("downgrade refused")
	// ErrState is a saved digest state that cannot be restored; hash the data
	// again from its start.
	ErrState = errors.New("bad digest state")
)
