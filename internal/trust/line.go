package trust

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pieces that the three kinds of minisign files share.
const (
	untrustedPrefix = "untrusted comment: "
	trustedPrefix   = "trusted comment: "

	maxFile      = 16 << 10 // bytes of a key or signature file; real ones have about 300
	maxUntrusted = 1000     // bytes of a comment; minisign's buffer holds 1024 with the prefix
	maxTrusted   = 8000     // the same with 8192
)

// checkComment refuses what would not stay on one line, or could deceive the
// person who reads it on a terminal. Tabs are what minisign itself puts
// between the parts of a comment.
func checkComment(comment string, limit int) error {
	if len(comment) > limit {
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(comment), limit)
	}
	if !utf8.ValidString(comment) {
		return errors.New("is not UTF-8")
	}
	for _, r := range comment {
		if r != '\t' && !unicode.IsGraphic(r) {
			return fmt.Errorf("contains the control character %U", r)
		}
	}
	return nil
}

// decodeLine decodes one line of base64 that must hold exactly want bytes.
// Strict decoding leaves one spelling for each value, so that no byte of a
// file can change without being noticed.
func decodeLine(line string, want int) ([]byte, error) {
	if strings.ContainsRune(line, '\r') {
		return nil, errors.New("has a carriage return: the file was changed by a transfer in text mode")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("is not base64: %w", err)
	}
	if len(raw) != want {
		return nil, fmt.Errorf("holds %d bytes, expected %d", len(raw), want)
	}
	return raw, nil
}
