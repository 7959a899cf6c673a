package trust

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ParseRelease reads a release manifest. It accepts one spelling only: every
// key known, in its exact letters, once, and with a value of its type and
// range; nothing after the end. name stands in messages, such as
//
//	release.json:7:12: artifacts[0].size: is negative, expected 0 to 4611686018427387904
//
// Errors are a [*ManifestError]. It proves nothing about who wrote the
// manifest: [Open] does.
func ParseRelease(name string, data []byte) (*Release, error) {
	d := newDecoder(name, data)
	if len(data) > MaxManifest {
		return nil, d.errorf("", "the manifest has %d bytes, at most %d are allowed", len(data), MaxManifest)
	}
	if err := d.checkUTF8(); err != nil {
		return nil, err
	}
	var r Release
	if err := d.value("", d.release(&r)); err != nil {
		return nil, err
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return &r, nil
}

func (d *decoder) release(r *Release) reader {
	return d.object([]field{
		{"updraft", true, d.format(&r.Updraft)},
		{"name", true, d.name(&r.Name)},
		{"version", true, d.name(&r.Version)},
		{"securityVersion", true, d.integer(&r.SecurityVersion, 1<<63-1)},
		{"artifacts", true, d.artifacts(&r.Artifacts)},
	})
}

func (d *decoder) artifacts(to *[]Artifact) reader {
	seen := map[string]bool{}
	element := func(path string, tok any) error {
		var a Artifact
		if err := d.artifact(&a, seen)(path, tok); err != nil {
			return err
		}
		*to = append(*to, a)
		return nil
	}
	return d.array(1, MaxArtifacts, element)
}

func (d *decoder) artifact(a *Artifact, seen map[string]bool) reader {
	unique := func(path string, tok any) error {
		if err := d.name(&a.Name)(path, tok); err != nil {
			return err
		}
		if seen[a.Name] {
			return d.errorf(path, "%q is the name of two artifacts", a.Name)
		}
		seen[a.Name] = true
		return nil
	}
	return d.object([]field{
		{"name", true, unique},
		{"size", true, d.integer(&a.Size, MaxSize)},
		{"sha256", true, d.digest(&a.SHA256)},
		{"url", true, d.url(&a.URL)},
		{"deltas", false, d.deltas(&a.Deltas)},
	})
}

func (d *decoder) deltas(to *[]Delta) reader {
	return d.array(0, MaxDeltas, func(path string, tok any) error {
		var x Delta
		read := d.object([]field{
			{"format", true, d.name(&x.Format)},
			{"url", true, d.url(&x.URL)},
			{"size", true, d.integer(&x.Size, MaxSize)},
			{"sha256", true, d.digest(&x.SHA256)},
			{"baseSize", true, d.integer(&x.BaseSize, MaxSize)},
			{"baseSha256", true, d.digest(&x.BaseSHA256)},
		})
		if err := read(path, tok); err != nil {
			return err
		}
		*to = append(*to, x)
		return nil
	})
}

func (d *decoder) format(to *string) reader {
	return d.text(to, func(s string) error {
		if s != ReleaseFormat {
			return fmt.Errorf("%q is not known to this version of updraft, expected %q", clip(s), ReleaseFormat)
		}
		return nil
	})
}

func (d *decoder) name(to *string) reader { return d.text(to, checkName) }

func (d *decoder) url(to *string) reader {
	return d.text(to, func(s string) error {
		_, err := parseReference(s)
		return err
	})
}

func (d *decoder) digest(to *string) reader {
	return d.text(to, func(s string) error {
		_, err := ParseSHA256(s)
		if err != nil {
			return errors.New(strings.TrimPrefix(err.Error(), ErrUntrusted.Error()+": "))
		}
		return nil
	})
}

// checkName refuses what cannot be one file name or would deceive a reader.
func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > MaxName:
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(s), MaxName)
	case s == "." || s == "..":
		return fmt.Errorf("%q cannot be a name", s)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%q begins or ends with a space", s)
	}
	for _, r := range s {
		switch {
		case r == '/' || r == '\\':
			return fmt.Errorf("%q contains the path separator %q", s, r)
		case !unicode.IsGraphic(r) || r == utf8.RuneError:
			return fmt.Errorf("%q contains the control character %U", s, r)
		}
	}
	return nil
}

// checkInteger reads a JSON number that must be a whole one from 0 to most.
func checkInteger(text string, most int64) (int64, error) {
	if strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("is negative, expected 0 to %d", most)
	}
	if strings.ContainsAny(text, ".eE") {
		return 0, fmt.Errorf("%s is not written as a whole number", clip(text))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > most {
		return 0, fmt.Errorf("%s is too large, expected 0 to %d", clip(text), most)
	}
	return n, nil
}
