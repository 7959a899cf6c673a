package trust

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Resolve gives the address of ref, which stands in the manifest that came
// from manifestURL. That may be an http, https or file URL or a plain file
// path; the answer is a plain path if ref is relative and the manifest was at
// one. ref is always spelt as a URL, so %20 is a space.
//
// Refused, with an error that wraps [ErrUntrusted]: other schemes, user names
// and passwords, fragments, a step from https down to http, and one from the
// network to a local file.
func Resolve(manifestURL, ref string) (string, error) {
	to, err := parseReference(ref)
	if err != nil {
		return "", fmt.Errorf("%w: address %q %w", ErrUntrusted, clip(Redact(ref)), err)
	}
	if !isURL(manifestURL) {
		return resolvePath(manifestURL, to)
	}
	from, err := parseAddress(manifestURL)
	if err != nil {
		return "", fmt.Errorf("%w: manifest address %q %w", ErrUntrusted, clip(Redact(manifestURL)), err)
	}
	to = from.ResolveReference(to)
	if err := checkAddress(to); err != nil {
		return "", fmt.Errorf("%w: address %q %w", ErrUntrusted, clip(Redact(ref)), err)
	}
	if from.Scheme == "https" && to.Scheme != "https" || from.Scheme == "http" && to.Scheme == "file" {
		return "", fmt.Errorf("%w: a manifest from %s may not lead to %s: %q", ErrUntrusted, from.Scheme, to.Scheme, clip(Redact(ref)))
	}
	return to.String(), nil
}

func resolvePath(manifest string, to *url.URL) (string, error) {
	switch {
	case to.Scheme != "":
		return to.String(), nil
	case to.Host != "" || to.RawQuery != "" || to.ForceQuery:
		return "", fmt.Errorf("%w: address %q has a host or a query, but the manifest is a local file", ErrUntrusted, clip(Redact(to.String())))
	case filepath.IsAbs(to.Path):
		return filepath.Clean(to.Path), nil
	}
	return filepath.Join(filepath.Dir(manifest), filepath.FromSlash(to.Path)), nil
}

// parseReference checks what can be checked of an address in a manifest
// without knowing where the manifest came from. Messages never quote it: a
// query may be a secret.
func parseReference(ref string) (*url.URL, error) {
	if ref == "" {
		return nil, errors.New("is empty")
	}
	if len(ref) > MaxURL {
		return nil, fmt.Errorf("has %d bytes, at most %d are allowed", len(ref), MaxURL)
	}
	return parseAddress(ref)
}

func parseAddress(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("cannot be read as a URL")
	}
	return u, checkAddress(u)
}

func checkAddress(u *url.URL) error {
	switch {
	case u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file":
		return fmt.Errorf("has the scheme %q, expected http, https or file", clip(u.Scheme))
	case u.Opaque != "":
		return errors.New("has no // after its scheme")
	case u.User != nil:
		return errors.New("contains a user name or password")
	case u.Fragment != "":
		return errors.New("has a fragment")
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		return errors.New("has no host")
	case u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || u.RawQuery != ""):
		return errors.New("is a file with a host or a query")
	case u.Path == "" && u.Host == "":
		return errors.New("has no path")
	}
	for _, r := range u.Path + u.Host {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return errors.New("contains a control character or broken text")
		}
	}
	return nil
}

// Redact drops query, fragment, user name and password from an address, so
// that it can be logged. One that cannot be read keeps its scheme alone. A
// plain file path loses what follows a "?" or "#".
func Redact(address string) string {
	cut := address
	if i := strings.IndexAny(cut, "?#"); i >= 0 {
		cut = cut[:i]
	}
	absolute := isURL(cut)
	if !absolute && !strings.HasPrefix(cut, "//") {
		return cut
	}
	u, err := url.Parse(cut)
	if err != nil || u.Opaque != "" {
		scheme, _, _ := strings.Cut(cut, ":")
		if !absolute {
			scheme = ""
		}
		return strings.ToLower(scheme) + ":(unreadable)"
	}
	u.User = nil
	return u.String()
}

// isURL tells an address from a plain file path: it begins with a scheme of
// two letters or more. A path that looks so can be written ./ab:c.
func isURL(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	if !found || len(scheme) < 2 {
		return false
	}
	for i, c := range []byte(scheme) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		other := c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return true
}
