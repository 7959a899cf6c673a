package device

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/internal/document"
)

// Config says what a device is. [Load] makes one from a device file; one made
// by hand is checked by [New] all the same.
type Config struct {
	// File is where it was read from. Commands run in its folder.
	File string
	// Facts are what compatibility checks and probes look at, by name.
	Facts map[string]Fact `yaml:"facts"`
	// Targets are what an update may change, by name.
	Targets map[string]Place `yaml:"targets,required"`
	// Restart has the commands that restart the scope "device" or the program
	// of a directory target.
	Restart map[string]Command `yaml:"restart"`
	// Serial has the serial ports that modules may be granted, by name.
	Serial map[string]SerialPort `yaml:"serial"`
	// Commands has the commands that modules may be granted, by name.
	Commands map[string]Tool `yaml:"commands"`
	// Guard is the file that outlives a lost state directory; guard.bin beside
	// the device file if it does not say otherwise.
	Guard string `yaml:"guard"`
	// Report says where terminal reports go besides the plane that asked.
	Report Report `yaml:"report"`
	// Trust is what an update must prove.
	Trust Trust `yaml:"trust"`
	// Modules caps what modules get.
	Modules Modules `yaml:"modules"`
}

// Fact is where one fact comes from: exactly one of the fields, a literal
// Value (which may be empty) if none of the others is set.
type Fact struct {
	Value string
	// Target names a target: the fact is the version of what the device runs
	// from there, "" if nobody stamped it.
	Target string `yaml:"target"`
	// File has the fact as its text, of at most 4 KiB, without space around it.
	File string `yaml:"file"`
	// Exec is a command whose output is the fact, as with File.
	Exec []string `yaml:"exec"`
}

// UnmarshalText takes a literal fact as it is written.
func (f *Fact) UnmarshalText(text []byte) error {
	f.Value = string(text)
	return nil
}

// Place is one target: exactly one of Slots, Directory and File is set.
type Place struct {
	// Slots are image files or block devices by the name of the slot; at least two.
	Slots map[string]string `yaml:"slots"`
	// Boot keeps the boot state of Slots.
	Boot BootState `yaml:"boot"`
	// Active is the slot of a boot state that does not exist yet, the first by
	// name if empty.
	Active string `yaml:"active"`
	// Space is how many bytes fit into a slot that is an image file; such a
	// file then keeps its length. 0 means that only the disk limits it, and
	// the file becomes as long as what was written. A block device knows.
	Space int64 `yaml:"space,size"`
	// Directory holds versions side by side.
	Directory string `yaml:"directory"`
	// File is replaced as a whole.
	File string `yaml:"file"`
}

// Type gives the kind of target that p describes, "" if it describes none.
func (p Place) Type() Type {
	switch {
	case len(p.Slots) > 0:
		return Slots
	case p.Directory != "":
		return Directory
	case p.File != "":
		return File
	}
	return ""
}

// BootState says where the boot state of slots is.
type BootState struct {
	// File is a JSON file that the boot loader reads and writes too. Several
	// targets may share one.
	File string `yaml:"file,required"`
}

// Command is a program and its arguments. There is no shell.
type Command struct {
	Exec []string `yaml:"exec,required"`
}

// Report says where reports go.
type Report struct {
	To []Receiver `yaml:"to"`
}

// Receiver gets reports: exactly one of the fields is set.
type Receiver struct {
	File string `yaml:"file"` // a line of JSON is added to it
	HTTP string `yaml:"http"` // the report is posted to this URL
}

// What an update must prove, from strict to lax.
const (
	RequireSignature = "signature"
	RequireSHA256    = "sha256"
	RequireNone      = "none"
)

// Trust is what an update must prove before its first byte is used.
type Trust struct {
	Require string   `yaml:"require"` // RequireSignature if empty
	Keys    []string `yaml:"keys"`    // files with public keys
}

// Modules caps what modules get.
type Modules struct {
	Memory int64         `yaml:"memory,size"` // bytes of each module, 64 MiB if 0
	Fuel   int64         `yaml:"fuel"`        // of a phase, the module host's default if 0
	Wall   time.Duration `yaml:"wall"`        // of a phase, the module host's default if 0
	// Isolation is IsolationNone if empty.
	Isolation string `yaml:"isolation"`
	// Grants are what modules may be given at all: targets by name, and effects
	// as serial:PORT, exec:COMMAND, http:HOST or http:HOST:PORT, and reboot.
	Grants []string `yaml:"grants"`
}

// What modules run in.
const (
	IsolationNone    = "none"    // the program itself
	IsolationProcess = "process" // a process of their own
)

var (
	goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)
	goodRun  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

const nameRule = "expected a lower-case letter or digit, then up to 63 of a-z, 0-9, _ and -"

// mistake is what is wrong at a path such as "targets.app.directory".
type mistake struct{ path, code, text string }

// mistakes gives all that is wrong with c, in the order of the paths.
func (c Config) mistakes() []mistake {
	m := new(found)
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		m.target(name, c.Targets[name])
	}
	m.together(c)
	for _, name := range slices.Sorted(maps.Keys(c.Facts)) {
		m.fact(c, name)
	}
	for _, scope := range slices.Sorted(maps.Keys(c.Restart)) {
		m.restart(c, scope)
	}
	m.beside(c)
	m.rest(c)
	return m.all
}

type found struct{ all []mistake }

func (m *found) add(path, code, format string, args ...any) {
	m.all = append(m.all, mistake{path, code, fmt.Sprintf(format, args...)})
}

func (m *found) target(name string, p Place) {
	at := "targets." + name
	if !goodName.MatchString(name) {
		m.add(at, document.BadValue, "target name %q: %s", name, nameRule)
	}
	if name == "device" {
		m.add(at, document.BadValue, `a target cannot be called "device", which is a restart scope`)
	}
	kinds := 0
	for _, set := range []bool{len(p.Slots) > 0, p.Directory != "", p.File != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		m.add(at, document.Conflict, "target %s: expected exactly one of slots, directory and file", name)
		return
	}
	if len(p.Slots) == 0 {
		m.noSlots(at, p)
		return
	}
	if len(p.Slots) < 2 {
		m.add(at+".slots", document.BadValue, "target %s: expected at least two slots, have %d", name, len(p.Slots))
	}
	for _, slot := range slices.Sorted(maps.Keys(p.Slots)) {
		switch {
		case !goodName.MatchString(slot) || slot == "active" || slot == "inactive" || slot == "current":
			m.add(at+".slots."+slot, document.BadValue, "slot name %q: %s, and neither active, inactive nor current", slot, nameRule)
		case p.Slots[slot] == "":
			m.add(at+".slots."+slot, document.BadValue, "slot %s: expected a file or block device", slot)
		}
	}
	if p.Boot.File == "" {
		m.add(at+".boot", document.Missing, "target %s: slots need boot: {file: FILE}", name)
	}
	if _, ok := p.Slots[p.Active]; p.Active != "" && !ok {
		m.add(at+".active", document.BadValue, "active slot %q is not one of %s", p.Active, strings.Join(slices.Sorted(maps.Keys(p.Slots)), ", "))
	}
	if p.Space < 0 {
		m.add(at+".space", document.BadValue, "space: expected at least 0 bytes, have %d", p.Space)
	}
}

func (m *found) noSlots(at string, p Place) {
	for _, extra := range []struct {
		key string
		set bool
	}{{"boot", p.Boot.File != ""}, {"active", p.Active != ""}, {"space", p.Space != 0}} {
		if extra.set {
			m.add(at+"."+extra.key, document.Conflict, "%s is for slots only", extra.key)
		}
	}
}

// together finds files that two parts of the device would both write.
func (m *found) together(c Config) {
	users := map[string]string{}
	claim := func(file, at string, share bool) {
		if file == "" {
			return
		}
		file = path.Clean(file)
		if other, ok := users[file]; ok && !(share && strings.HasSuffix(other, ".boot.file")) {
			m.add(at, document.Conflict, "%s is also used by %s", file, other)
			return
		}
		users[file] = at
	}
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		p, at := c.Targets[name], "targets."+name
		for _, slot := range slices.Sorted(maps.Keys(p.Slots)) {
			claim(p.Slots[slot], at+".slots."+slot, false)
		}
		claim(p.Directory, at+".directory", false)
		claim(p.File, at+".file", false)
		claim(p.Boot.File, at+".boot.file", true)
	}
	claim(c.Guard, "guard", false)
}

func (m *found) fact(c Config, name string) {
	f, at := c.Facts[name], "facts."+name
	kinds := 0
	for _, set := range []bool{f.Value != "", f.Target != "", f.File != "", len(f.Exec) > 0} {
		if set {
			kinds++
		}
	}
	if kinds > 1 {
		m.add(at, document.Conflict, "fact %s: expected a text or exactly one of target, file and exec", name)
	}
	if _, ok := c.Targets[f.Target]; f.Target != "" && !ok {
		m.add(at+".target", document.UnknownTarget, "%s", document.Unknown("target", f.Target, c.names()))
	}
}

func (m *found) restart(c Config, scope string) {
	at := "restart." + scope
	if p, ok := c.Targets[scope]; scope != "device" && (!ok || p.Type() != Directory) {
		m.add(at, document.BadValue, `unknown restart scope %q, expected "device" or a directory target`, scope)
	}
	if len(c.Restart[scope].Exec) == 0 {
		m.add(at, document.Missing, "restart %s: expected exec: [PROGRAM, ARGUMENT…]", scope)
	}
}

func (m *found) rest(c Config) {
	for i, to := range c.Report.To {
		at := fmt.Sprintf("report.to[%d]", i)
		switch {
		case (to.File == "") == (to.HTTP == ""):
			m.add(at, document.Conflict, "expected exactly one of file and http")
		case to.HTTP != "" && !strings.HasPrefix(to.HTTP, "https://") && !strings.HasPrefix(to.HTTP, "http://"):
			m.add(at+".http", document.BadValue, "expected a URL that begins with https:// or http://")
		}
	}
	switch c.Trust.Require {
	case "", RequireSignature, RequireSHA256, RequireNone:
	default:
		m.add("trust.require", document.BadValue, "unknown requirement %q, expected signature, sha256 or none", c.Trust.Require)
	}
	if c.Modules.Memory < 0 {
		m.add("modules.memory", document.BadValue, "memory: expected at least 0 bytes, have %d", c.Modules.Memory)
	}
	if c.Modules.Fuel < 0 {
		m.add("modules.fuel", document.BadValue, "fuel: expected at least 0, have %d", c.Modules.Fuel)
	}
	if c.Modules.Wall < 0 {
		m.add("modules.wall", document.BadValue, "wall: expected a time such as 10m, have %v", c.Modules.Wall)
	}
	switch c.Modules.Isolation {
	case "", IsolationNone, IsolationProcess:
	default:
		m.add("modules.isolation", document.BadValue, "unknown isolation %q, expected none or process", c.Modules.Isolation)
	}
	for i, g := range c.Modules.Grants {
		if code, text := c.grant(g); text != "" {
			m.add(fmt.Sprintf("modules.grants[%d]", i), code, "%s", text)
		}
	}
}

func (c Config) names() []string { return slices.Sorted(maps.Keys(c.Targets)) }
