package delta

import "fmt"

// Level is how hard [Make] looks for a small patch. It changes nothing
// about applying.
type Level string

const (
	// Fast takes the least time.
	Fast Level = "fast"
	// Default is small at a time that suits a build.
	Default Level = "default"
	// Max is the smallest that the format can do. In format zstd there is
	// nothing above Default, and both give the same bytes.
	Max Level = "max"
)

// ParseLevel gives the level of that name; no name is [Default].
func ParseLevel(name string) (Level, error) {
	switch l := Level(name); l {
	case "":
		return Default, nil
	case Fast, Default, Max:
		return l, nil
	}
	return "", fmt.Errorf("unknown delta level %q (have %q)", name, []Level{Fast, Default, Max})
}
