package manifest

import "encoding/json"

// maxAction bounds an action, whose twin has at most 32 KB of wishes.
const maxAction = 256 << 10 // bytes

// Verify reads an action as the hub sends it, which is a twin's desired
// properties, {"deviceUpdate": {"service": {…}}} or the service object alone, and
// gives its manifest if the signature leads to one of the roots.
func Verify(action []byte, roots Roots) (Manifest, error) {
	if len(action) > maxAction {
		return Manifest{}, refuse(InvalidActionJSON, "an action of %d bytes, the limit is %d", len(action), maxAction)
	}
	service, err := readExact(action)
	if err != nil {
		return Manifest{}, err
	}
	for _, name := range []string{"desired", "deviceUpdate", "service"} {
		if inner, ok := service[name]; ok {
			if service, err = readExact(inner); err != nil {
				return Manifest{}, err
			}
		}
	}
	raw, ok := text(service["updateManifest"])
	if !ok {
		return Manifest{}, refuse(NoUpdateManifest, "the action has no updateManifest")
	}
	signature, ok := text(service["updateManifestSignature"])
	if !ok {
		return Manifest{}, refuse(ManifestValidationFailed, "the action has no updateManifestSignature")
	}
	return VerifyText(raw, signature, roots)
}

// readExact does not fold case: an action is written by a program.
func readExact(raw []byte) (map[string]json.RawMessage, error) {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) != nil || o == nil {
		return nil, refuse(InvalidActionJSON, "the action is no JSON object")
	}
	return o, nil
}

// VerifyText gives the manifest of a text if the signature leads to one of the
// roots. The text is what stands in the action once its JSON is unescaped,
// byte for byte.
func VerifyText(raw, signature string, roots Roots) (Manifest, error) {
	payload, err := attested(signature, roots)
	if err != nil {
		return Manifest{}, err
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(payload, &claims) != nil {
		return Manifest{}, refuse(ManifestHashMismatch, "what is signed is no JSON object")
	}
	if digest, _ := text(claims["sha256"]); !equalHash(digest, []byte(raw)) {
		return Manifest{}, refuse(ManifestHashMismatch, "the signature is good, but of another manifest")
	}
	return Parse([]byte(raw))
}
