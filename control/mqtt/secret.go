package mqtt

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
)

// maxSecret bounds what a secret may hold: a long chain of certificates.
const maxSecret = 1 << 20 // bytes

// Secret is something that is read when it is needed and printed never: every
// way to print it gives its origin. The zero value is no secret. It may be shared.
type Secret struct {
	origin string
	read   func() ([]byte, error) // behind a function, so that even a dump of memory by fmt shows none
}

// SecretFrom gives a secret that read returns, anew for each connection.
// The origin, such as "file key.pem", is shown to people.
func SecretFrom(origin string, read func() ([]byte, error)) Secret {
	return Secret{origin, read}
}

// SecretFile gives the content of a file, which may change between connections.
func SecretFile(name string) Secret {
	return SecretFrom("file "+name, func() (data []byte, err error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		return io.ReadAll(io.LimitReader(f, maxSecret+1))
	})
}

// SecretEnv gives what lookup finds under name, as os.LookupEnv does.
func SecretEnv(name string, lookup func(string) (string, bool)) Secret {
	return SecretFrom("environment "+name, func() ([]byte, error) {
		v, ok := lookup(name)
		if !ok {
			return nil, errors.New("it is not set")
		}
		return []byte(v), nil
	})
}

// Set says whether there is a secret at all.
func (s Secret) Set() bool { return s.read != nil }

// Reveal reads the secret. Errors wrap [ErrSecret].
func (s Secret) Reveal() ([]byte, error) {
	if s.read == nil {
		return nil, fmt.Errorf("%w: there is none", ErrSecret)
	}
	data, err := s.read()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrSecret, s.origin, err)
	case len(data) == 0:
		return nil, fmt.Errorf("%w: %s: it is empty", ErrSecret, s.origin)
	case len(data) > maxSecret:
		return nil, fmt.Errorf("%w: %s: more than %d bytes", ErrSecret, s.origin, maxSecret)
	}
	return data, nil
}

// String gives the origin.
func (s Secret) String() string {
	if s.read == nil {
		return "no secret"
	}
	return "secret from " + s.origin
}

// GoString gives the origin, for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText gives the origin, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue gives the origin, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
