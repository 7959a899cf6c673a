package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

// link finds what each step depends on, and checks that it is there, that it
// gives bytes if bytes are read, and that nothing goes in a circle.
func (r *reader) link() {
	links := map[string][]link{}
	for i, s := range r.steps {
		reads := r.reads(s)
		all := slices.Concat(r.needs(s), reads, s.refs)
		if s.needs == nil && len(reads) == 0 && i > 0 && r.steps[i-1].ID != "" {
			all = append(all, link{id: r.steps[i-1].ID, at: s.node, implied: true})
		}
		s.Needs = nil
		for _, l := range all {
			if !slices.Contains(s.Needs, l.id) {
				s.Needs = append(s.Needs, l.id)
			}
		}
		if r.byID[s.ID] == s { // not a second one with the same id
			links[s.ID] = all
		}
		r.touches(s)
		if _, gives := s.draft.(engine.Filter); s.draft != nil && s.Keep && !gives {
			r.at(s.node.Get("keep"), document.NoBytes, fmt.Sprintf("%q gives no bytes to keep", s.Verb))
		}
	}
	r.circles(links)
}

// checkGraph reports what the engine refuses of a graph as a whole, and two
// steps that would each make a version of the same directory.
func (r *reader) checkGraph() {
	conflict := func(id, text string) {
		if s := r.byID[id]; s != nil {
			r.at(s.node, document.Conflict, text)
		} else {
			r.at(r.doc.Root, document.Conflict, text)
		}
	}
	for _, wrong := range r.graph.Check() {
		conflict(wrong.Step, wrong.Err.Error())
	}
	if r.env.Device == nil {
		return
	}
	writer := map[string]*engine.Step{}
	for _, s := range r.graph.Steps {
		toucher, ok := s.Static.(engine.Toucher)
		if !ok {
			continue
		}
		for _, ref := range toucher.Touches() {
			first := writer[ref]
			if first != nil && r.env.Device.Targets[ref].Type == "directory" && (first.When == nil || s.When == nil) {
				conflict(s.ID, fmt.Sprintf("step %q makes a version of %q already, and a version is what one step makes: a module can write all of its files", first.ID, ref))
			}
			if first == nil {
				writer[ref] = s
			}
		}
	}
}

// needs gives the steps that a step names itself.
func (r *reader) needs(s *step) []link {
	var known []link
	if s.needs == nil || s.needs.Kind != document.List {
		return nil
	}
	for _, n := range s.needs.Items {
		switch {
		case n.Kind != document.Scalar || n.HasTemplate() || n.IsNull():
		case r.byID[n.Text] == nil:
			r.at(n, document.UnknownStep, document.Unknown("step", n.Text, r.ids(s)))
		default:
			known = append(known, link{id: n.Text, at: n})
		}
	}
	return known
}

// reads gives the steps whose bytes a step reads.
func (r *reader) reads(s *step) []link {
	reader, ok := s.draft.(engine.Reader)
	if !ok {
		return nil
	}
	var known []link
	for _, id := range reader.Reads() {
		at, found := find(s.body, id)
		from := r.byID[id]
		switch {
		case !found && !s.clean: // the field that would name it has a problem
		case at.HasTemplate():
			r.at(at, document.NoExpression, "the steps that a step reads must be known before the run, an expression is not possible here")
		case from == nil:
			r.at(at, document.UnknownStep, document.Unknown("step", id, r.ids(s)))
		default:
			if _, gives := from.draft.(engine.Filter); from.draft != nil && !gives {
				r.at(at, document.NoBytes, fmt.Sprintf("step %q gives no bytes to read, its verb is %q", id, from.Verb))
			}
			known = append(known, link{id: id, at: at})
		}
	}
	return known
}

// ids are the steps that s may name.
func (r *reader) ids(s *step) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.byID)), func(id string) bool { return id == s.ID })
}

// find gives the scalar below n whose text is text, or n if there is none.
func find(n *document.Node, text string) (at *document.Node, found bool) {
	if at := search(n, text); at != nil {
		return at, true
	}
	return n, false
}

func search(n *document.Node, text string) *document.Node {
	if n.Kind == document.Scalar && n.Text == text {
		return n
	}
	for _, item := range n.Items {
		if found := search(item, text); found != nil {
			return found
		}
	}
	for _, f := range n.Fields {
		if found := search(f.Value, text); found != nil {
			return found
		}
	}
	return nil
}

// touches checks the targets that a step changes.
func (r *reader) touches(s *step) {
	toucher, ok := s.draft.(engine.Toucher)
	if !ok {
		return
	}
	for _, ref := range toucher.Touches() {
		at, found := find(s.body, ref)
		if !found && !s.clean {
			continue
		}
		if at.HasTemplate() {
			r.at(at, document.NoExpression, "the targets that a step changes must be known before the run, an expression is not possible here")
			continue
		}
		if r.target(at, ref, true) && strings.HasSuffix(ref, "@active") {
			r.at(at, document.UnknownTarget, "the active slot is never changed, did you mean \""+strings.TrimSuffix(ref, "active")+"inactive\"?")
		}
	}
}

// target checks a ref against the device: "rootfs@inactive", "app" or "config",
// and, if it is only read, also "app@active" or "app@active/bin/server".
func (r *reader) target(at *document.Node, ref string, changes bool) bool {
	if r.env.Device == nil {
		return true
	}
	name, slot, named := strings.Cut(ref, "@")
	if version, _, _ := strings.Cut(slot, "/"); version == "active" && !changes && r.env.Device.Targets[name].Type == "directory" {
		return true
	}
	t, known := r.env.Device.Targets[name]
	problem := ""
	parts := append([]string{"active", "inactive"}, t.Slots...)
	switch {
	case !known:
		problem = document.Unknown("target", name, slices.Collect(maps.Keys(r.env.Device.Targets)))
	case t.Type != "slots" && named:
		problem = fmt.Sprintf("target %q is a %s, not a slot pair, write %q", name, t.Type, name)
	case t.Type == "slots" && !named:
		problem = fmt.Sprintf("target %q has slots, say which, such as %q", name, name+"@inactive")
	case t.Type == "slots" && !slices.Contains(parts, slot):
		problem = document.Unknown("slot of "+name, slot, parts)
	}
	if problem != "" {
		r.at(at, document.UnknownTarget, problem)
	}
	return problem == ""
}

// circles reports steps that need one another, each circle once.
func (r *reader) circles(links map[string][]link) {
	const (
		open = iota + 1
		done
	)
	state := map[string]int{}
	var path []link
	var visit func(id string)
	visit = func(id string) {
		state[id] = open
		for _, l := range links[id] {
			switch path = append(path, l); state[l.id] {
			case open:
				r.circle(path)
			case 0:
				visit(l.id)
			}
			path = path[:len(path)-1]
		}
		state[id] = done
	}
	for _, s := range r.steps {
		if s.ID != "" && state[s.ID] == 0 {
			path = []link{{id: s.ID}}
			visit(s.ID)
		}
	}
}

// circle reports the end of a path that comes back to an earlier step.
func (r *reader) circle(path []link) {
	back := path[len(path)-1].id
	circle := path[slices.IndexFunc(path, func(l link) bool { return l.id == back }):]
	ids, hint := []string{back}, ""
	var at *document.Node
	for i, l := range circle[1:] {
		ids = append(ids, l.id)
		switch {
		case !l.implied && at == nil:
			at = l.at
		case l.implied && hint == "":
			hint = fmt.Sprintf("; %s needs %s only since it stands behind it, needs: [] makes it independent", ids[i], l.id)
		}
	}
	r.at(at, document.Cycle, "steps need one another in a circle: "+strings.Join(ids, " → ")+hint)
}
