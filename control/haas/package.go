package haas

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/control/aliyun"
)

// ErrPackage is wrapped by every error of the name or the manifest of a package.
var ErrPackage = errors.New("bad app package")

// Version is a version of an app: three numbers, which count as numbers.
type Version [3]uint32

// ParseVersion reads a version such as 0.0.10, which is higher than 0.0.9.
// Anything else than three numbers with dots between them is an error.
func ParseVersion(text string) (v Version, err error) {
	parts := strings.Split(text, ".")
	for i := range v {
		n, bad := uint64(0), error(nil)
		if len(parts) == len(v) && strings.Trim(parts[i], "0123456789") == "" {
			n, bad = strconv.ParseUint(parts[i], 10, 32)
		}
		if len(parts) != len(v) || parts[i] == "" || strings.Trim(parts[i], "0123456789") != "" || bad != nil {
			return v, errors.New("is not three numbers such as 0.0.10")
		}
		v[i] = uint32(n)
	}
	return v, nil
}

// Compare gives -1, 0 or 1 as v is lower than w, the same, or higher.
func (v Version) Compare(w Version) int { return slices.Compare(v[:], w[:]) }

var (
	appID   = regexp.MustCompile(`^88001000[0-9]{8}$`)
	appName = regexp.MustCompile(`^[A-Za-z0-9]{1,16}$`)
)

func checkApp(id string) error {
	if !appID.MatchString(id) {
		return errors.New("is not 16 digits that begin with 88001000")
	}
	return nil
}

// Package is what the name of a package and the manifest in it say of an app.
type Package struct {
	Name    string // 1 to 16 letters or digits
	App     string // the app's id
	Version string
}

// ReadName reads the name of a package, {appName}-{appid}-{version}.tar.gz.
// Errors wrap [ErrPackage].
func ReadName(name string) (Package, error) {
	rest, ok := strings.CutSuffix(name, ".tar.gz")
	parts := strings.Split(rest, "-")
	if !ok || len(parts) != 3 {
		return Package{}, fmt.Errorf("%w: name %.80q: want {appName}-{appid}-{version}.tar.gz", ErrPackage, name)
	}
	p := Package{parts[0], parts[1], parts[2]}
	return p, p.check()
}

// ReadManifest reads the text of a package's manifest.json, in which the id is called
// appid. The version of the manifest that is in the running app is the proof that it
// runs. Errors wrap [ErrPackage].
func ReadManifest(text []byte) (Package, error) {
	if len(text) > aliyun.MaxPayload {
		return Package{}, fmt.Errorf("%w: manifest.json has %d bytes, the limit is %d", ErrPackage, len(text), aliyun.MaxPayload)
	}
	o, err := aliyun.Read(text, "manifest.json")
	if err != nil {
		return Package{}, fmt.Errorf("%w: %w", ErrPackage, err)
	}
	p := Package{o.Text("appName"), o.Text("appid"), o.Text("version")}
	if o.Err != nil {
		return Package{}, fmt.Errorf("%w: manifest.json: %w", ErrPackage, o.Err)
	}
	return p, p.check()
}

func (p Package) check() error {
	_, err := ParseVersion(p.Version)
	switch {
	case !appName.MatchString(p.Name):
		return fmt.Errorf("%w: appName %.40q: want 1 to 16 letters or digits", ErrPackage, p.Name)
	case checkApp(p.App) != nil:
		return fmt.Errorf("%w: appid %.40q %w", ErrPackage, p.App, checkApp(p.App))
	case err != nil:
		return fmt.Errorf("%w: version %.40q %w", ErrPackage, p.Version, err)
	}
	return nil
}
