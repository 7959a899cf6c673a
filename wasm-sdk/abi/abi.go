// Package abi is the contract between updraft and a vendor's WebAssembly
// module as names and numbers: phases, return classes, errnos, the functions
// that a module may import, and the manifest that it carries.
//
// It holds no behaviour but the reading and writing of the manifest section
// ([WithManifest], [ReadManifest]), imports nothing of updraft and is linked
// into modules written in Go as well as into the host.
package abi

import (
	"slices"
	"strings"
)

// The names by which host and module find each other.
const (
	// Module is the import module of every function in [Functions].
	Module = "updraft_v1"
	// WASI is the only other import module that a host provides.
	WASI = "wasi_snapshot_preview1"
	// MarkerPrefix begins the name of the exported marker function: the major
	// and minor version follow, as in updraft_abi_1_0.
	MarkerPrefix = "updraft_abi_"
	// PhaseExport is called once for each phase: (phase i32) -> class i32.
	PhaseExport = "updraft_phase"
	// InitExport, if exported, is called before PhaseExport in every instance.
	InitExport = "_initialize"
	// MemoryExport is the one exported memory.
	MemoryExport = "memory"
	// ManifestSection names the custom section that holds the manifest.
	ManifestSection = "updraft.manifest"
)

// The version of the contract.
const (
	Major = 1
	Minor = 0
)

// Phase says what a module is called for.
type Phase int32

// The phases. Any of them may be called again from its start with the same
// inputs, in a new instance without the memory of the one before.
const (
	// Compat judges, before anything is fetched and on any machine, whether
	// the update suits. It is pure: facts, settings and artifact metadata.
	Compat Phase = iota + 1
	// Prepare finds out and reserves, without lasting effect.
	Prepare
	// Install stages the bytes; nothing takes hold.
	Install
	// Commit makes what was staged take hold. Targets are opened again by role.
	Commit
	// Rollback undoes what this module did.
	Rollback
	// Health judges the new version after the restart.
	Health
	// Cleanup removes what only served the update.
	Cleanup
	// Enumerate lists components while facts are gathered.
	Enumerate
)

var phaseNames = [...]string{"compat", "prepare", "install", "commit", "rollback", "health", "cleanup", "enumerate"}

// String gives the phase's name as manifests write it.
func (p Phase) String() string {
	if p < Compat || p > Enumerate {
		return "unknown"
	}
	return phaseNames[p-1]
}

// PhaseNamed gives the phase of a name in a manifest, or 0.
func PhaseNamed(name string) Phase {
	for i, n := range phaseNames {
		if n == name {
			return Phase(i + 1)
		}
	}
	return 0
}

// Class is what a phase returns.
type Class int32

// The return classes.
const (
	OK           Class = iota // done
	OKRestart                 // done, and a restart is wanted
	AlreadyDone               // the device has it already
	Incompatible              // the update does not suit this device
	RetryLater                // not now
	Failed                    // the phase failed
	Cancelled                 // the module saw the cancel flag and stopped
)

// Errno is what an imported function returns instead of a length, handle or count.
type Errno int32

// The errnos. A bad pointer or handle is none of them: it traps.
const (
	ENOENT    Errno = -1 - iota // no such role, fact, setting, key or mark
	EDENIED                     // not granted, or not in this phase
	EINVAL                      // a length, offset, path or JSON text is not acceptable
	EIO                         // the host could not read or write; the phase fails whatever it returns
	ESEQ                        // a sequential artifact cannot go back
	EQUOTA                      // more than the grant, or a limit below, allows
	ECANCELED                   // the run is being cancelled
	EMFILE                      // too many handles
	EUNKNOWN                    // the size or digest is not known before the end
	EBADDATA                    // bytes are damaged, hostile or not signed so
	ETIMEDOUT                   // no answer in time
	ECONN                       // the other side cannot be reached
)

var errnoTexts = [...]string{
	"no such name", "not granted", "not acceptable", "host input or output error", "a sequential artifact cannot go back",
	"over quota", "cancelled", "too many handles", "not known yet", "damaged or not signed so", "no answer in time", "not to be reached",
}

// Error makes an Errno an error.
func (e Errno) Error() string {
	if i := int(-1 - e); i >= 0 && i < len(errnoTexts) {
		return errnoTexts[i]
	}
	return "unknown errno"
}

// Capability is what a manifest declares and a workflow grants. Those of the
// kinds [HTTP], [Serial] and [Exec] may carry a name after a colon, such as
// http:example.com: a manifest then wants that one, and without a name
// whichever the step grants, at least one. Grants always carry it.
type Capability string

// The capabilities. The functions of core need none.
const (
	Facts    Capability = "facts"    // facts of the device, settings of the step
	Artifact Capability = "artifact" // reading the artifacts bound to roles
	Target   Capability = "target"   // the targets bound to roles
	Services Capability = "services" // host services on handles
	State    Capability = "state"    // key-values that outlive an instance
	Resume   Capability = "resume"   // marks
	Time     Capability = "time"     // clocks, sleep, random bytes
	HTTP     Capability = "http"     // http:HOST or http:HOST:PORT, requests to this host
	Serial   Capability = "serial"   // serial:PORT, a serial port of the device file
	Exec     Capability = "exec"     // exec:NAME, a command of the device file
	Reboot   Capability = "reboot"   // to ask for a restart of the device
)

// Capabilities gives all of them, in the order of the contract.
func Capabilities() []Capability {
	return []Capability{Facts, Artifact, Target, Services, State, Resume, Time, HTTP, Serial, Exec, Reboot}
}

// Kind is c without its name.
func (c Capability) Kind() Capability {
	kind, _, _ := strings.Cut(string(c), ":")
	return Capability(kind)
}

// Name is what follows the colon, "" if nothing does.
func (c Capability) Name() string {
	_, name, _ := strings.Cut(string(c), ":")
	return name
}

// Valid reports whether c is a capability of the contract, with a name only
// where the kind takes one.
func (c Capability) Valid() bool {
	kind, name, named := strings.Cut(string(c), ":")
	if !slices.Contains(Capabilities(), Capability(kind)) {
		return false
	}
	return !named || c.Effect() && Capability(kind) != Reboot && name != "" && len(name) <= MaxKey
}

// Effect reports whether c reaches beyond what updraft can undo: http, serial,
// exec and reboot. Only these are granted one by one, by workflow and device.
func (c Capability) Effect() bool {
	return slices.Contains([]Capability{HTTP, Serial, Exec, Reboot}, c.Kind())
}

// Log levels of the function log.
const (
	LevelDebug = iota
	LevelInfo
	LevelWarn
	LevelError
)

// Modes of tgt_open.
const (
	ModeRead  = 1
	ModeWrite = 2
)

// Algorithms of art_digest (SHA256 alone) and svc_hash. Digests are lower-case
// hex text.
const (
	SHA256 = 1
	SHA512 = 2
	MD5    = 3
)

// Kinds of svc_patch, and of svc_inflate below. Zero recognises them.
const (
	PatchUdelta = 1
	PatchBsdiff = 2
	PatchVCDIFF = 3
	PatchZstd   = 4 // zstd --patch-from
)

// Kinds of svc_inflate.
const (
	InflateZstd  = 1
	InflateGzip  = 2
	InflateXZ    = 3
	InflateLZ4   = 4
	InflateBzip2 = 5
)

// Limits that a host of this version holds a module to. Sizes are bytes.
const (
	MaxModule    = 16 << 20
	MaxManifest  = 64 << 10
	MaxHandles   = 32
	MaxLine      = 1 << 10  // one log line
	MaxLog       = 64 << 10 // all log lines of a phase
	MaxResult    = 16 << 10
	MaxText      = 256 // of progress
	MaxName      = 512 // a role, fact, setting or path
	MaxKey       = 128
	MaxKV        = 24 << 10 // all keys and values of a step together
	MaxMark      = 4 << 10
	MaxHTTP      = 1 << 20  // requests and responses of a phase, with their bodies
	MaxOutput    = 64 << 10 // of exec
	MaxFrames    = 1024     // calls within calls
	MaxTable     = 65536    // entries
	MaxGlobals   = 4096
	MaxFunctions = 20000
	MaxLocals    = 2000    // of one function, parameters included
	MaxTargets   = 4096    // of one br_table
	MaxBody      = 1 << 20 // of one function
	MaxSegments  = 4096    // of data and of elements, each
	MaxCustom    = 1 << 20 // all custom sections together but for the manifest
	MaxExports   = 4096
	// DefaultFuel is what a phase may use up, about one for an instruction.
	DefaultFuel = 2_000_000_000
	// DefaultMemory is what a module gets that declares no need.
	DefaultMemory = 16 << 20
)
