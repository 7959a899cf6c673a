package manifest

import (
	"errors"
	"fmt"
)

// ErrRefused is wrapped by every error of this package, which is always a [*Refusal].
var ErrRefused = errors.New("refused")

// Reason says by the reference agent's name why something is refused.
type Reason string

// The reasons for a signature, in the order in which they are looked for.
const (
	// Success is no refusal.
	Success Reason = "Success"
	// BadStructure: not three sections, or a header without its members.
	BadStructure Reason = "BadStructure"
	// InvalidEncodingJWSHeader: a header that cannot be decoded.
	InvalidEncodingJWSHeader Reason = "InvalidEncodingJWSHeader"
	// MissingRootKid: the root key is not known.
	MissingRootKid Reason = "MissingRootKid"
	// DisallowedRootKid: the root key is known, and disabled.
	DisallowedRootKid Reason = "DisallowedRootKid"
	// UnsupportedAlg: a signature of another algorithm than RS256.
	UnsupportedAlg Reason = "UnsupportedAlg"
	// InvalidSignature: of the signing key, or by it.
	InvalidSignature Reason = "InvalidSignature"
	// InvalidSJWKPayload: what the root signed is no usable key.
	InvalidSJWKPayload Reason = "InvalidSJWKPayload"
	// DisallowedSigningKey: a root key package has disabled the signing key.
	DisallowedSigningKey Reason = "DisallowedSigningKey"
	// ManifestHashMismatch: what is signed is another manifest.
	ManifestHashMismatch Reason = "ManifestHashMismatch"
	// ManifestValidationFailed: there is no signature at all.
	ManifestValidationFailed Reason = "ManifestValidationFailed"
)

// The reasons for an action and its manifests.
const (
	// InvalidActionJSON: the action is no JSON object.
	InvalidActionJSON Reason = "InvalidActionJson"
	// NoUpdateManifest: the action has no manifest.
	NoUpdateManifest Reason = "NoUpdateManifest"
	// BadUpdateManifest: the manifest breaks its format.
	BadUpdateManifest Reason = "BadUpdateManifest"
	// UnsupportedUpdateManifestVersion: it is of no version from 4 to 5.
	UnsupportedUpdateManifestVersion Reason = "UnsupportedUpdateManifestVersion"
	// BadFilesOrFileURLs: a file is described wrongly, or has no URL.
	BadFilesOrFileURLs Reason = "BadFilesOrFileUrls"
	// MissingDetachedManifestEntity: a manifest is a file that nothing describes.
	MissingDetachedManifestEntity Reason = "MissingDetachedUpdateManifestEntity"
	// BadDetachedManifest: a manifest that is a file has other bytes than
	// announced, or breaks its format.
	BadDetachedManifest Reason = "BadDetachedUpdateManifest"
)

// The reasons for a root key package.
const (
	// RootKeyPackageParse: it breaks its format.
	RootKeyPackageParse Reason = "RootKeyPkgFailJsonParse"
	// SignatureForKeyNotFound: a root that is known already has not signed it.
	SignatureForKeyNotFound Reason = "SignatureForKeyNotFound"
	// SignatureValidationFailed: the signature of a root is wrong.
	SignatureValidationFailed Reason = "SignatureValidationFailed"
	// TestPackage: it is for tests, and the agent is not.
	TestPackage Reason = "RootKeyTestPkgOnProdAgent"
	// ProductionPackage: the agent is for tests, and it is not.
	ProductionPackage Reason = "RootKeyProdPkgOnTestAgent"
	// OldPackage: it is older than the one in use, which may have disabled
	// keys since. The reference agent has no name for that.
	OldPackage Reason = "RootKeyPackageOlder"
)

// extended are the reference agent's extended result codes: facility,
// component and value. See result_codes.json of Azure/iot-hub-device-update.
var extended = map[Reason]uint32{
	BadStructure: 0xA0200002, UnsupportedAlg: 0xA0200003, InvalidSignature: 0xA0200004, DisallowedRootKid: 0xA0200005, MissingRootKid: 0xA0200006,
	InvalidEncodingJWSHeader: 0xA0200008, InvalidSJWKPayload: 0xA0200009, DisallowedSigningKey: 0xA0000005,
	ManifestHashMismatch: 0x80300001, ManifestValidationFailed: 0x80300001,
	InvalidActionJSON: 0x80300000, BadFilesOrFileURLs: 0x80300007, NoUpdateManifest: 0x80300008, BadUpdateManifest: 0x80300009,
	UnsupportedUpdateManifestVersion: 0x8030000A, MissingDetachedManifestEntity: 0x8030000B, BadDetachedManifest: 0x8030000C,
	RootKeyPackageParse: 0xA0000001, ProductionPackage: 0xA0000006, TestPackage: 0xA0000007,
	SignatureForKeyNotFound: 0x80600003, SignatureValidationFailed: 0x80600004, OldPackage: 0x80600001,
}

// Extended gives the extended result code that a device reports for it; 0 for [Success].
func (r Reason) Extended() uint32 { return extended[r] }

// Refusal is why something is refused. Its text holds no URL.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// Is says that a refusal is [ErrRefused].
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// Why gives the reason of an error of this package, and [Success] for nil.
func Why(err error) Reason {
	var r *Refusal
	switch {
	case err == nil:
		return Success
	case errors.As(err, &r):
		return r.Reason
	}
	return BadUpdateManifest
}

func refuse(reason Reason, format string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}
