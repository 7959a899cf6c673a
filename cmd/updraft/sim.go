package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/internal/disk"
)

func (p *program) simCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sim",
		Short: "Simulate a cloud on this machine",
		Long: `Run the other half of a cloud's dialect on this machine: its broker, what it
keeps of devices, and a file server, with faults at will. It needs no account
and no network. It is for a desk and for tests; nothing of it belongs on a
network that is not trusted.`,
		Example: `  updraft sim awsiot --files dist
  updraft sim awsiot push --device gw-1 --url gateway-2.0.img --wait 5m`,
	}
	for _, plane := range simPlanes() {
		c.AddCommand(p.simPlaneCommand(plane))
	}
	return c
}

const (
	simFolder    = ".updraft-sim" // where a simulator keeps what it knows, and its addresses
	simEndpoints = "endpoints.json"
	maxEndpoints = 64 << 10 // bytes
)

// simPlace says where the simulator is that a command drives.
type simPlace struct{ plane, state, control string }

func addSimPlace(c *cobra.Command, plane simPlane) *simPlace {
	at := &simPlace{plane: plane.name}
	c.Flags().StringVar(&at.state, "state", simFolder, "`DIR` of the simulator, which names its address")
	c.Flags().StringVar(&at.control, "control", "", "control `URL` of the simulator, instead of --state")
	must(c.MarkFlagDirname("state"))
	must(c.RegisterFlagCompletionFunc("control", cobra.NoFileCompletions))
	c.MarkFlagsMutuallyExclusive("state", "control")
	return at
}

// remote finds the simulator. Whether it runs shows when it is asked.
func (at *simPlace) remote() (cloudsim.Remote, error) {
	control := at.control
	if control == "" {
		known, err := readEndpoints(at.state)
		if errors.Is(err, fs.ErrNotExist) {
			return cloudsim.Remote{}, usagef("no simulator has run in %s: start one there (updraft sim %s), or name one with --control or --state", quoted(at.state), at.plane)
		}
		if err != nil {
			return cloudsim.Remote{}, usagef("%w", err)
		}
		if known.Plane != at.plane && known.Plane != "" {
			return cloudsim.Remote{}, usagef("the simulator in %s plays %s, not %s; --state names the folder of another", quoted(at.state), known.Plane, at.plane)
		}
		return cloudsim.Remote{Control: known.Control}, nil
	}
	u, err := url.Parse(control)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return cloudsim.Remote{}, usagef("--control: expected an address such as http://127.0.0.1:8600, as the simulator prints it")
	}
	return cloudsim.Remote{Control: "http://" + u.Host}, nil
}

// flags are the flags that lead here again, for messages.
func (at *simPlace) flags() string {
	switch {
	case at.control != "":
		return " --control " + quoted(at.control)
	case at.state != simFolder:
		return " --state " + quoted(at.state)
	}
	return ""
}

// readEndpoints gives the addresses of the simulator that runs, or ran last, in a folder.
func readEndpoints(state string) (known cloudsim.Endpoints, err error) {
	name := filepath.Join(state, simEndpoints)
	data, err := disk.ReadFile(disk.OS(), name, maxEndpoints)
	if err != nil {
		return known, err
	}
	if err := json.Unmarshal(data, &known); err != nil || known.Control == "" {
		return known, fmt.Errorf("%s does not hold the addresses of a simulator; remove it", quoted(name))
	}
	return known, nil
}

// simError says of a simulator that does not run how to start it, and makes
// what it finds wrong a mistake in the command line.
func simError(err error, plane simPlane) error {
	var dial *net.OpError
	switch {
	case errors.Is(err, cloudsim.ErrConfig):
		return usagef("%s", strings.TrimPrefix(err.Error(), cloudsim.ErrConfig.Error()+": "))
	case errors.As(err, &dial) && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no simulator answers at %v: it has ended; start it again (updraft sim %s)", dial.Addr, plane.name)
	}
	return err
}

// withoutQueries makes a value from a cloud fit to be shown: what follows the
// "?" of a URL is a secret, mostly.
func withoutQueries(v any) any {
	switch v := v.(type) {
	case string:
		if at := strings.IndexByte(v, '?'); at >= 0 && strings.Contains(v[:at], "://") {
			return v[:at] + "?…"
		}
	case map[string]any:
		out := map[string]any{}
		for k, member := range v {
			out[k] = withoutQueries(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, member := range v {
			out[i] = withoutQueries(member)
		}
		return out
	}
	return v
}
