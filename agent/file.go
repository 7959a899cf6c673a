package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/stages"
)

const (
	apiVersion = "updraft/v1"
	agentKind  = "Agent"
	socketFile = "agent.sock" // in the state directory
)

// File is a checked agent file. Paths in it are relative to the file; here
// they are joined with its folder.
type File struct {
	// Name is the agent file itself.
	Name string
	// Device is the device file.
	Device string
	// State is the state directory; .updraft beside the device file by default.
	State string
	// Socket is the local socket; agent.sock in the state directory by default.
	Socket string
	// Planes are the clouds to listen to, sorted by name.
	Planes []Plane
}

// agentFile is an agent file as it stands in YAML.
type agentFile struct {
	APIVersion string                 `yaml:"apiVersion,required"`
	Kind       string                 `yaml:"kind,required"`
	Device     string                 `yaml:"device,required"`
	State      string                 `yaml:"state"`
	Socket     string                 `yaml:"socket"`
	Planes     map[string]planeFile   `yaml:"planes,required"`
	Commands   map[string]commandFile `yaml:"commands,required"`
}

// planeFile is one of the planes in it.
type planeFile struct {
	Dialect       string            `yaml:"dialect,required"`
	URL           string            `yaml:"url"`
	ID            string            `yaml:"id,required"`
	User          string            `yaml:"user"`
	ServerName    string            `yaml:"serverName"`
	ALPN          []string          `yaml:"alpn"`
	KeepAlive     *time.Duration    `yaml:"keepAlive"`
	AnswerTimeout *time.Duration    `yaml:"answerTimeout"`
	Secrets       secretsFile       `yaml:"secrets"`
	Settings      map[string]string `yaml:"settings"`
}

type secretsFile struct {
	Cert     *secretFile `yaml:"cert"`
	Key      *secretFile `yaml:"key"`
	Roots    *secretFile `yaml:"roots"`
	Password *secretFile `yaml:"password"`
	// DeviceKey is what the device signs its logins with.
	DeviceKey *secretFile `yaml:"deviceKey"`
	// TargetToken and GatewayToken are what the device shows a server that it polls.
	TargetToken  *secretFile `yaml:"targetToken"`
	GatewayToken *secretFile `yaml:"gatewayToken"`
}

// secretFile says where a secret is.
type secretFile struct{ origin secretOrigin }

type secretOrigin struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"`
}

// DecodeNode refuses a secret that stands in the file itself, without showing it.
func (s *secretFile) DecodeNode(d *document.Decoding, n *document.Node) {
	if n.Kind != document.Map {
		d.ReportKey(n, document.WrongType, "a secret does not stand in the agent file: expected {file: FILE} or {env: NAME}")
		return
	}
	d.Decode(n, &s.origin)
}

// Check holds a secret to one origin.
func (o *secretOrigin) Check(report func(path, text string)) {
	if (o.File == "") == (o.Env == "") {
		report("", "expected exactly one of file and env")
	}
}

// commandFile says what answers the commands of a plane.
type commandFile struct {
	Workflow string `yaml:"workflow,required"`
	Download string `yaml:"download"`
	WhenBusy string `yaml:"whenBusy"`
}

// The words of whenBusy.
const (
	busyRefuse = "refuse"
	busyWait   = "wait"
)

// LoadFile reads and checks an agent file, its device file and its workflows,
// which it checks against the device. All mistakes of all files come at once, as
// [document.Problems]. verbs are the maker's own, env finds secrets in the
// environment and may be nil if nothing will connect. No secret is read.
func LoadFile(name string, verbs map[string]engine.Verb, env func(string) (string, bool)) (File, error) {
	data, err := disk.ReadFile(disk.OS(), name, maxDocument)
	if err != nil {
		return File{}, fmt.Errorf("read agent file: %w", err)
	}
	r, err := parseFile(name, data, env)
	if err != nil {
		return File{}, err
	}
	fetched := stages.Config{Openers: openers(nil, r.file.Planes), CheckSchemes: true}
	all, err := allVerbs(stages.Builtin(fetched), verbs)
	if err != nil {
		return File{}, err
	}
	r.others(all)
	if err := concealed(data, r.problems.Err()); err != nil {
		return File{}, err
	}
	return r.file, nil
}

// fileReader is one reading of an agent file.
type fileReader struct {
	doc      *document.Document
	text     agentFile
	env      func(string) (string, bool)
	file     File
	problems document.Problems
}

// parseFile reads the text of an agent file and checks what can be checked
// without other documents. What is wrong stands in problems, unless it is no YAML at all.
func parseFile(name string, data []byte, env func(string) (string, bool)) (*fileReader, error) {
	doc, err := document.Load(name, data)
	if err != nil {
		return nil, concealed(data, err)
	}
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	r := &fileReader{doc: doc, env: env, file: File{Name: name}}
	if err := doc.Decode(&r.text); err != nil && !errors.As(err, &r.problems) {
		return nil, err
	}
	r.head()
	r.planes()
	r.commands()
	return r, nil
}

// add notes a problem at a path, unless there is one at that place already,
// from which it follows.
func (r *fileReader) add(path, code, format string, args ...any) {
	p := r.doc.Problem(path, code, fmt.Sprintf(format, args...))
	if !slices.ContainsFunc(r.problems, func(have document.Problem) bool {
		return have.File == p.File && have.Line == p.Line && have.Column == p.Column
	}) {
		r.problems = append(r.problems, p)
	}
}

// addKey notes a problem at the key at a path, where others, such as missing keys
// below it, may stand too.
func (r *fileReader) addKey(path, code, format string, args ...any) {
	r.problems = append(r.problems, r.doc.KeyProblem(path, code, fmt.Sprintf(format, args...)))
}

// has says whether something stands at a path.
func (r *fileReader) has(path string) bool {
	_, whole := r.doc.Root.At(path)
	return whole
}

// head checks what stands at the top, and fills in paths and defaults.
func (r *fileReader) head() {
	for _, word := range []struct{ path, have, want string }{{"apiVersion", r.text.APIVersion, apiVersion}, {"kind", r.text.Kind, agentKind}} {
		if word.have != word.want && r.has(word.path) {
			r.add(word.path, document.WrongKind, "expected %s %s, found %.60q", word.path, word.want, word.have)
		}
	}
	if r.has("device") && r.text.Device == "" {
		r.add("device", document.BadValue, "expected the path of a device file")
	}
	r.file.Device = r.beside(r.text.Device)
	r.file.State = (&Config{Device: r.file.Device, State: r.beside(r.text.State)}).state()
	r.file.Socket = r.beside(r.text.Socket)
	if r.text.Socket == "" {
		r.file.Socket = filepath.Join(r.file.State, socketFile)
	} else if _, err := kernelName(r.file.Socket); err != nil {
		r.add("socket", document.BadValue, "%v", err)
	}
}

// beside joins a path of the file with its folder.
func (r *fileReader) beside(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(r.file.Name), name)
}

// others checks the files that the agent file names. A workflow is checked
// by itself if there is no device to check it against.
func (r *fileReader) others(verbs map[string]engine.Verb) {
	check := func(name string) (*engine.Graph, error) { return readAlone(name, verbs) }
	if r.text.Device != "" {
		device, err := LoadDevice(r.file.Device)
		if err == nil {
			check = func(name string) (*engine.Graph, error) { return read(name, device, verbs) }
			r.versions(device.Facts)
		}
		r.foreign("device", err)
	}
	for _, name := range sortedKeys(r.text.Commands) {
		at, text := document.Join("commands", name), r.text.Commands[name]
		for _, answer := range [][2]string{{"workflow", text.Workflow}, {"download", text.Download}} {
			if answer[1] != "" {
				graph, err := check(r.beside(answer[1]))
				r.foreign(at+"."+answer[0], err)
				r.inputs(at+"."+answer[0], name, graph)
			}
		}
	}
}

// foreign notes what is wrong with another file: its own problems, or that it
// cannot be read at the path that names it.
func (r *fileReader) foreign(path string, err error) {
	var some document.Problems
	var cause *fs.PathError
	switch {
	case err == nil:
	case errors.As(err, &some):
		r.problems = append(r.problems, some...)
	case errors.As(err, &cause):
		r.add(path, document.UnreadableFile, "cannot read %s: %v", cause.Path, cause.Err)
	default:
		r.add(path, document.UnreadableFile, "%v", err)
	}
}

// inputs notes inputs of a workflow that no command of its plane could give.
func (r *fileReader) inputs(path, plane string, graph *engine.Graph) {
	speaks, known := dialects[r.text.Planes[plane].Dialect]
	if graph == nil || !known {
		return
	}
	inputs := speaks.inputs
	if at := slices.IndexFunc(r.file.Planes, func(p Plane) bool { return p.Name == plane }); at >= 0 && speaks.brings != nil {
		inputs = speaks.brings(r.file.Planes[at].words)
	}
	var never []string
	for _, name := range sortedKeys(graph.Inputs) {
		if graph.Inputs[name].Default == nil && !slices.Contains(inputs, name) {
			never = append(never, name)
		}
	}
	if len(never) > 0 {
		r.add(path, document.Conflict, "the workflow needs %s, but a command of %s brings %s only: give it a default",
			strings.Join(never, ", "), r.text.Planes[plane].Dialect, strings.Join(inputs, ", "))
	}
}

// What shows that a file holds a secret itself: a private key, or a password, a
// device key or a token that is not said to be somewhere else.
var (
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY`)
	password   = regexp.MustCompile(`(?i)(password|deviceKey|token)["']?\s*:`)
	elsewhere  = regexp.MustCompile(`(?i)(password|deviceKey|token)["']?\s*:\s*\{?\s*(file|env)["']?\s*:`)
)

// concealed takes the source lines out of the problems of a file that seems to
// hold a secret, which belongs neither on a screen nor into a log.
func concealed(data []byte, err error) error {
	var problems document.Problems
	if !errors.As(err, &problems) || !privateKey.Match(data) && !password.Match(elsewhere.ReplaceAll(data, nil)) {
		return err
	}
	problems = slices.Clone(problems)
	for i := range problems {
		problems[i].Source = ""
	}
	return problems
}
