package engine

import (
	"fmt"
	"slices"
	"strings"
)

func (g *Graph) step(id string) *Step {
	for _, s := range slices.Concat(g.Compat, g.Steps) {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// readers are the steps that read the bytes of s.
func (g *Graph) readers(s *Step) []*Step {
	var out []*Step
	for _, other := range g.Steps {
		if r, ok := other.Static.(Reader); ok && slices.Contains(r.Reads(), s.ID) {
			out = append(out, other)
		}
	}
	return out
}

// flows reports whether the bytes of filter s go straight into its one reader.
func (g *Graph) flows(s *Step) bool { return !s.Keep && len(g.readers(s)) == 1 }

// order gives the steps so that each comes after what it needs, and otherwise
// as in the document.
func (g *Graph) order() ([]*Step, error) {
	var out []*Step
	placed := map[string]bool{}
	for len(out) < len(g.Steps) {
		before := len(out)
		for _, s := range g.Steps {
			ready := !slices.ContainsFunc(s.Needs, func(id string) bool { return !placed[id] })
			if !placed[s.ID] && ready {
				out, placed[s.ID] = append(out, s), true
				break
			}
		}
		if len(out) == before {
			var left []string
			for _, s := range g.Steps {
				if !placed[s.ID] {
					left = append(left, s.ID)
				}
			}
			return nil, fmt.Errorf("steps need each other in a circle: %s", strings.Join(left, ", "))
		}
	}
	return out, nil
}
