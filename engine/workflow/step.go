package workflow

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

// step is a step while it is read.
type step struct {
	*engine.Step
	node  *document.Node
	body  *document.Node // what stands under the verb
	verb  engine.Verb
	draft any // the verb with placeholders; nil if its shape is wrong
	clean bool
	needs *document.Node
	when  *template
	// refs are the steps that expressions name, and where.
	refs []link
}

// link is a step that another one depends on, and the place that says so.
type link struct {
	id string
	at *document.Node
	// implied: nothing but the order in the document says so.
	implied bool
}

// Words are what a step may have beside its verb.
var Words = []string{"id", "name", "when", "needs", "timeout", "retry", "lane", "undo", "keep"}

var idShape = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}$`)

const (
	idText     = "begins with a lower-case letter and has at most 40 lower-case letters, digits, '_' and '-'"
	maxWait    = 7 * 24 * time.Hour
	maxRetries = 1000
)

// collect reads ids, words and verbs of all steps, so that expressions can be
// checked against later ones too.
func (r *reader) collect(f file) {
	compat, known := r.env.Verbs["compat"]
	for i, n := range f.Compat {
		if n == nil {
			continue
		}
		if !known {
			r.at(n, document.UnknownVerb, `there is no verb "compat" here`)
			break
		}
		s := &step{node: n, body: n, verb: compat, Step: r.newStep(n)}
		s.ID, s.Verb = fmt.Sprintf("compat-%d", i+1), "compat"
		r.compat = append(r.compat, s)
	}
	if len(f.Steps) > MaxSteps {
		return
	}
	for _, n := range f.Steps {
		if n == nil {
			continue
		}
		if n.Kind != document.Map {
			r.at(n, document.WrongType, "expected a step, a map with an id and a verb")
			continue
		}
		s := &step{node: n, Step: r.newStep(n)}
		r.id(s)
		r.words(s)
		r.findVerb(s)
		r.steps = append(r.steps, s)
	}
}

func (r *reader) newStep(n *document.Node) *engine.Step {
	return &engine.Step{Line: n.Line, Column: n.Column}
}

var reservedID = regexp.MustCompile(`^compat-[0-9]+$`)

func (r *reader) id(s *step) {
	n := s.node.Get("id")
	if n == nil {
		r.at(s.node, document.Missing, `key "id" is missing`)
		return
	}
	if !r.decode(n, &s.ID) {
		return
	}
	first := r.byID[s.ID]
	switch {
	case !idShape.MatchString(s.ID):
		r.at(n, document.BadID, "an id "+idText)
	case reservedID.MatchString(s.ID):
		r.at(n, document.BadID, "ids such as compat-1 belong to the compat list")
	case first != nil:
		r.at(n, document.DuplicateID, fmt.Sprintf("a step with the id %q already begins in line %d", s.ID, first.Line))
		return
	}
	r.byID[s.ID] = s
}

// words reads what any step takes, apart from its id.
func (r *reader) words(s *step) {
	var undo string
	for _, f := range s.node.Fields {
		n := f.Value
		switch f.Key.Text {
		case "name":
			r.decode(n, &s.Name)
		case "needs":
			r.decode(n, &s.Needs)
			s.needs = n
		case "timeout":
			if r.decode(n, &s.Timeout) && (s.Timeout <= 0 || s.Timeout > maxWait) {
				r.at(n, document.BadValue, "a timeout is more than 0s and at most 168h")
			}
		case "retry":
			r.retry(s, n)
		case "lane":
			if r.decode(n, &s.Lane) && !idShape.MatchString(s.Lane) {
				r.at(n, document.BadValue, "a lane "+idText)
			}
		case "undo":
			if r.decode(n, &undo) && undo != "none" {
				r.at(n, document.BadValue, fmt.Sprintf("expected none, which leaves the step's effects when the run is undone, found %q", undo))
			}
			s.NoUndo = undo == "none"
		case "keep":
			r.decode(n, &s.Keep)
		}
	}
}

func (r *reader) retry(s *step, n *document.Node) {
	retry := struct {
		Max     int           `yaml:"max,required"`
		Backoff time.Duration `yaml:"backoff"`
	}{Backoff: time.Second}
	if !r.decode(n, &retry) {
		return
	}
	if retry.Max < 0 || retry.Max > maxRetries {
		r.at(n.Get("max"), document.BadValue, fmt.Sprintf("a step is tried again at most %d times", maxRetries))
	}
	if retry.Backoff > maxWait {
		r.at(n.Get("backoff"), document.BadValue, "a backoff is at most 168h")
	}
	s.Retry = engine.RetryPolicy{Max: retry.Max, Backoff: retry.Backoff}
}

// findVerb finds the one key of a step that is a verb.
func (r *reader) findVerb(s *step) {
	verbs := slices.Sorted(maps.Keys(r.env.Verbs))
	var unknown []document.Field
	for _, f := range s.node.Fields {
		key := f.Key.Text
		verb, known := r.env.Verbs[key]
		switch {
		case slices.Contains(Words, key):
		case !known:
			unknown = append(unknown, f)
		case s.body != nil:
			r.at(f.Key, document.TwoVerbs, fmt.Sprintf("a step has one verb, and %q is there already", s.Verb))
			r.verb(&step{Step: &engine.Step{ID: s.ID, Verb: key}, node: s.node, body: f.Value, verb: verb})
		default:
			s.Verb, s.verb, s.body = key, verb, f.Value
		}
	}
	guessed := s.body != nil
	for _, f := range unknown {
		key := f.Key.Text
		switch {
		case document.Nearest(key, Words) != "" && document.Nearest(key, verbs) == "":
			r.at(f.Key, document.UnknownKey, document.Unknown("key", key, Words))
		case s.body != nil:
			r.at(f.Key, document.UnknownKey, document.Unknown("key", key, slices.Concat(Words, verbs)))
		default:
			r.at(f.Key, document.UnknownVerb, document.Unknown("verb", key, verbs))
			guessed = true
		}
	}
	if !guessed {
		r.at(s.node, document.NoVerb, fmt.Sprintf("the step has no verb (have %q)", verbs))
	}
}

// verb decodes what stands under a step's verb, and its condition, with
// placeholders for expressions.
func (r *reader) verb(s *step) {
	roots := allRoots
	if s.Verb == "compat" && s.node == s.body {
		roots = []string{"inputs", "facts", "run"}
	}
	if n := s.node.Get("when"); n != nil && s.node != s.body {
		s.when = r.condition(s, n)
	}
	if s.body == nil {
		return
	}
	draft := s.verb.New()
	err := s.body.Decode(draft, r.draft(s, roots))
	if s.clean = r.note(err); shapely(err) && !s.body.IsBroken() {
		s.draft = draft
	}
}

// shapely reports whether a verb has the fields and types that its methods may
// count on, whatever else is wrong with it.
func shapely(err error) bool {
	ps, _ := err.(document.Problems)
	return !slices.ContainsFunc(ps, func(p document.Problem) bool {
		return p.Code == document.Missing || p.Code == document.WrongType || p.Code == document.TooMany
	})
}

// finish makes the graph of a document that has no problems.
func (r *reader) finish() {
	for _, s := range r.compat {
		r.graph.Compat = append(r.graph.Compat, r.bind(s))
	}
	for _, s := range r.steps {
		r.graph.Steps = append(r.graph.Steps, r.bind(s))
	}
	if r.report == nil {
		return
	}
	r.graph.Report = func(scope *engine.Scope) (map[string]any, error) {
		fields := map[string]any{}
		err := r.report.Decode(&fields, r.fill(scope))
		return fields, err
	}
}

func (r *reader) bind(s *step) *engine.Step {
	static := s.verb.New()
	_ = s.body.Decode(static, document.Hooks{Template: // its problems are those of the draft
	func(*document.Decoding, document.Place) (any, bool) { return document.Unset, true }})
	s.Static = static
	s.Bind = func(scope *engine.Scope) (any, error) {
		v := s.verb.New()
		if err := s.body.Decode(v, r.fill(scope)); err != nil {
			return nil, err
		}
		return v, nil
	}
	if s.when != nil {
		s.When = func(scope *engine.Scope) (bool, error) { return s.when.holds(scope) }
	}
	return s.Step
}
