// Package stages holds the verbs that a workflow can name without further
// code: one file a verb, one line each in [Builtin].
//
// A verb's exported fields are its fields in a workflow, and their comments are
// its page in the reference. Filters (fetch, inflate, patch, verify) give bytes that
// flow through once; install takes them; confirm proves the result.
package stages

import (
	"context"
	"net/http"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/wasmhost"
)

// Config is what the built-in verbs work with. Zero fields mean the documented
// default.
type Config struct {
	// HTTP carries all requests. The default is NewTransport(nil).
	HTTP http.RoundTripper
	// Fetch carries the requests of fetch. The default is HTTP.
	Fetch http.RoundTripper
	// Openers fetch artifacts from addresses of further schemes, by scheme in
	// lower case: not http, https or file. Release manifests do not come from there.
	Openers map[string]Opener
	// Disk is where file URLs and plain paths are read. The default is disk.OS().
	Disk disk.FS
	// Trust is what the device file requires of artifacts.
	Trust trust.Policy
	// DeltaMemory caps what applying a delta may hold, in bytes. The default
	// is 64 MiB; a delta that needs more is passed over for the full image.
	DeltaMemory int64
	// MinRate and RateWindow end a body that comes too slowly. The defaults
	// are 1 KiB a second over 30 s.
	MinRate    int64 // bytes a second
	RateWindow time.Duration
	// Modules runs vendors' modules. Without it a workflow that names one is refused.
	Modules *wasmhost.Host
	// KeepModules keeps compat modules compiled after they were asked, for
	// programs that run the same workflow many times.
	KeepModules bool
	// Module is what the device file grants to modules.
	Module device.Modules
	// CheckGrants has the check of a workflow report grants of install steps
	// that Module does not have. A run refuses what is not granted by itself.
	CheckGrants bool
	// CheckSchemes has the check of a workflow report addresses that nothing
	// here fetches. A run fails on them by itself.
	CheckSchemes bool
	// Exec runs the commands of probes. Without it they fail.
	Exec func(ctx context.Context, argv []string, dir string) ([]byte, error)

	modules *modules
}
