package hawkbit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// release is the artifact that is taken if there is one and Config.Files says nothing.
const release = "release.json"

// signatures are the endings of artifacts that only prove others.
var signatures = []string{".minisig", ".sig", ".asc", ".sha256", ".md5sum"}

// inputNames are the inputs for one artifact.
var inputNames = []string{"filename", "md5", "name", "part", "sha1", "sha256", "size", "url", "version"}

// Inputs names all inputs that a command may bring, sorted: filename, md5, name
// and version and part (of the software module), sha1, sha256, size and url;
// and the same with the names of [Config.Files] before them.
func (c Config) Inputs() []string {
	prefixes := []string{""}
	if len(c.Files) > 0 {
		prefixes = nil
	}
	for _, entry := range c.Files {
		prefixes = append(prefixes, parseChoice(entry).prefix)
	}
	var all []string
	for _, p := range prefixes {
		for _, name := range inputNames {
			all = append(all, p+name)
		}
	}
	slices.Sort(all)
	return all
}

// choice is one entry of Config.Files.
type choice struct{ prefix, part, pattern string }

func parseChoice(entry string) choice {
	name, rest, named := strings.Cut(entry, "=")
	if !named {
		name, rest = "", entry
	} else {
		name += "_"
	}
	part, pattern, _ := strings.Cut(rest, "/")
	return choice{name, part, pattern}
}

var inputPrefix = regexp.MustCompile(`^([a-z][a-z0-9]{0,31}_)?$`)

func checkFiles(entries []string) error {
	seen := map[string]bool{}
	if len(entries) > 16 {
		return fmt.Errorf("there are %d, want at most 16", len(entries))
	}
	for _, entry := range entries {
		c := parseChoice(entry)
		_, err := path.Match(c.pattern, "")
		switch {
		case err != nil || c.part == "" || c.pattern == "" || strings.Contains(c.pattern, "/"):
			return fmt.Errorf("%.140q: want [NAME=]PART/FILE", entry)
		case !inputPrefix.MatchString(c.prefix):
			return fmt.Errorf("%.140q: want a name of 1 to 32 small letters and digits", entry)
		case seen[c.prefix]:
			return fmt.Errorf("%.140q: two entries have this name", entry)
		}
		seen[c.prefix] = true
	}
	return nil
}

// inputs gives what the workflow gets of a deployment, or why there is nothing
// that it could take.
func (c Config) inputs(d deployment) (map[string]string, error) {
	in := map[string]string{}
	if len(c.Files) == 0 {
		f, err := only(d.files)
		if err == nil {
			f.add(in, "")
		}
		return in, err
	}
	for _, entry := range c.Files {
		choice := parseChoice(entry)
		var found []file
		for _, f := range d.files {
			if match, _ := path.Match(choice.pattern, f.name); match && f.part == choice.part {
				found = append(found, f)
			}
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("%w: the deployment has %d artifacts %s, the device needs 1", errChoice, len(found), redact(choice.part+"/"+choice.pattern, 140))
		}
		found[0].add(in, choice.prefix)
	}
	return in, nil
}

// errChoice is a deployment without the artifacts that the device needs.
var errChoice = errors.New("wrong artifacts")

// only gives the one artifact that is meant when nobody says which.
func only(files []file) (file, error) {
	var manifests, others []file
	for _, f := range files {
		proof := slices.ContainsFunc(signatures, func(end string) bool { return strings.HasSuffix(strings.ToLower(f.name), end) })
		switch {
		case f.name == release:
			manifests = append(manifests, f)
		case !proof:
			others = append(others, f)
		}
	}
	switch {
	case len(manifests) == 1:
		return manifests[0], nil
	case len(manifests) > 1:
		return file{}, fmt.Errorf("%w: the deployment has %d artifacts %s: the device's setting files must say which", errChoice, len(manifests), release)
	case len(others) == 1:
		return others[0], nil
	}
	return file{}, fmt.Errorf("%w: the deployment has %d artifacts and no %s: want 1, or the device's setting files must say which", errChoice, len(others), release)
}

// add puts what is known of an artifact among the inputs.
func (f file) add(in map[string]string, prefix string) {
	for name, value := range map[string]string{
		"filename": f.name, "md5": f.md5, "name": f.module, "part": f.part, "sha1": f.sha1,
		"sha256": f.sha256, "size": f.size, "url": f.url, "version": f.version,
	} {
		if value != "" {
			in[prefix+name] = value
		}
	}
}

// digest tells two deployments apart by what is to be installed; links change.
func (d deployment) digest() string {
	var lines []string
	for _, f := range d.files {
		lines = append(lines, strings.Join([]string{f.part, f.module, f.version, f.name, f.size, f.sha256, f.sha1, f.md5}, "\x00"))
	}
	slices.Sort(lines)
	return digest(strings.Join(lines, "\n"))
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}
