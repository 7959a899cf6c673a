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

// Check finds what the engine cannot promise anything about, each with its
// step. A run is proven once, and from then on is not taken back: what is
// written behind the proof would never take hold, and a second proof would prove
// nothing. Several proofs are possible if each has a condition.
func (g *Graph) Check() []*StepError {
	order, err := g.order()
	if err != nil {
		return []*StepError{{Err: err}}
	}
	var wrong []*StepError
	var proof *Step
	for _, s := range order {
		_, confirms := s.Static.(Confirmer)
		switch toucher, touches := s.Static.(Toucher); {
		case proof != nil && touches && len(toucher.Touches()) > 0:
			wrong = append(wrong, &StepError{s.ID, fmt.Errorf("changes a target behind %s, which proves the run: put it before that step, or into a workflow of its own", proof.ID)})
		case proof != nil && confirms && (s.When == nil || proof.When == nil):
			wrong = append(wrong, &StepError{s.ID, fmt.Errorf("proves a run that %s has proven: a run is proven once, and each of several proofs needs a condition", proof.ID)})
		}
		if confirms && proof == nil {
			proof = s
		}
	}
	return wrong
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
