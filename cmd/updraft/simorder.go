package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// pushFlags say what is desired of a device.
type pushFlags struct {
	device, url, job, version, sha256 string
	size                              int64
	set                               []string
	wait                              time.Duration
	json                              bool
	again                             string // flags that lead to the simulator, for messages
}

// pushed is the result of push.
type pushed struct {
	Device string        `json:"device"`
	Job    string        `json:"job"`
	URL    string        `json:"url,omitempty"` // without its query
	Shadow int64         `json:"shadow"`        // its version
	End    *cloudsim.End `json:"end,omitempty"` // if it was waited for
}

func (p *program) simPushCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "push",
		Short: "Desire software of a device",
		Long: `Write into the desired state of a device, as an application does: softwareURL,
jobID, version, sha256 and size. The device hears of it at once, or when it
connects.

A --url without a scheme is the name of a file below --files of the simulator,
and becomes its address there; a query may follow it. With a --url, a version,
sha256 or size that an earlier push desired goes, unless it is given again;
without, the device is to try again what was desired last. A device does a job
once, so each push is a new job unless --job says otherwise; an end that it
reported before is the end of a push with the same --job, too.

--set adds members of any name. A value that is JSON is taken as that, all else
as text; null deletes the member.

--wait shows the progress that the device reports, and waits for the end:
    0  the device reports SUCCESS; without --wait: it is desired
    4  it reports FAILURE, or any other result
    6  there is no end yet, or an interrupt came; the job stays desired
  All other exit codes are those of updraft run. With --json the result is an
  object with device, job, url, shadow (version of the device's shadow) and end:
  job, result, code, message, report (its id), arrivals, first and last.`,
		Example: `  updraft sim awsiot push --device gw-1 --url gateway-2.0.img --version 2.0 --wait 5m
  updraft sim awsiot push --device gw-1 --url https://host/release.json --job j-18 --set channel=beta`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	at := addSimPlace(c)
	f := pushFlags{}
	c.Flags().StringVar(&f.device, "device", "", "`ID` of the device (required)")
	c.Flags().StringVar(&f.url, "url", "", "`URL` of the software, or a file name below --files of the simulator")
	c.Flags().StringVar(&f.job, "job", "", "`ID` of the job (default a random one, which is printed)")
	c.Flags().StringVar(&f.version, "version", "", "version `V` of the software")
	c.Flags().StringVar(&f.sha256, "sha256", "", "SHA-256 of the software, `HEX`")
	c.Flags().Int64Var(&f.size, "size", 0, "size of the software, `N` bytes")
	c.Flags().StringArrayVar(&f.set, "set", nil, "`KEY=VALUE` to desire too, repeatable")
	c.Flags().DurationVar(&f.wait, "wait", 0, "wait so long for the end, such as 5m")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	for _, name := range []string{"device", "url", "job", "version", "sha256", "size", "set", "wait"} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		desired, err := f.desired(cmd.Flags().Changed)
		if err != nil {
			return err
		}
		r, err := at.remote()
		if err != nil {
			return err
		}
		f.again = at.flags()
		return p.simPush(cmd.Context(), r, f, desired)
	}
	return c
}

var (
	jobID     = regexp.MustCompile(`^[A-Za-z0-9._:=~-]{1,128}$`)
	hexSHA256 = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

// desired checks the flags and makes the desired state of them, but for the
// URL, which the simulator may have to complete.
func (f *pushFlags) desired(given func(flag string) bool) (map[string]any, error) {
	switch {
	case given("job") && !jobID.MatchString(f.job):
		return nil, usagef("--job %q: expected 1 to 128 letters, digits and ._:=~-", f.job)
	case given("sha256") && !hexSHA256.MatchString(f.sha256):
		return nil, usagef("--sha256 %q: expected 64 hexadecimal digits", f.sha256)
	case f.size < 0:
		return nil, usagef("--size %d: expected a number of bytes", f.size)
	case given("wait") && f.wait <= 0:
		return nil, usagef("--wait %v: expected a time to wait, such as 5m", f.wait)
	case given("url") && f.url == "":
		return nil, usagef("--url: expected a URL or the name of a file")
	}
	if f.job == "" {
		f.job = "job-" + strings.ToLower(rand.Text()[:10])
	}
	desired := map[string]any{"jobID": f.job}
	for name, value := range map[string]any{"version": f.version, "sha256": strings.ToLower(f.sha256), "size": f.size} {
		if given(name) {
			desired[name] = value
		} else if given("url") {
			desired[name] = nil // it was said of other software
		}
	}
	seen := map[string]bool{"softwareURL": true, "jobID": true}
	for name := range desired {
		seen[name] = given(name) || seen[name]
	}
	for _, set := range f.set {
		key, text, ok := strings.Cut(set, "=")
		switch {
		case !ok || key == "":
			return nil, usagef("--set %s: expected KEY=VALUE", set)
		case key == "softwareURL" || key == "jobID":
			return nil, usagef("--set %s: it is said by --url and --job", key)
		case seen[key]:
			return nil, usagef("--set %s: it was given twice", key)
		}
		seen[key] = true
		if desired[key] = text; json.Valid([]byte(text)) {
			desired[key] = json.RawMessage(text)
		}
	}
	return desired, nil
}

func (p *program) simPush(ctx context.Context, r cloudsim.Remote, f pushFlags, desired map[string]any) error {
	st, err := r.State(ctx)
	if err != nil {
		return simError(err)
	}
	software, _ := st.Devices[f.device].Desired["softwareURL"].(string)
	if f.url != "" {
		if software, err = softwareURL(f.url, st); err != nil {
			return err
		}
		desired["softwareURL"] = software
	} else if software == "" {
		return usagef("--url URL is missing: nothing is desired of %q yet", f.device)
	}
	res := pushed{Device: f.device, Job: f.job}
	res.URL, _, _ = strings.Cut(software, "?")
	if res.Shadow, err = r.Push(ctx, f.device, desired); err != nil {
		return simError(err)
	}
	if !f.json {
		if err := p.print("job %s for %s: %s (shadow %d)", res.Job, res.Device, agent.Printable(res.URL), res.Shadow); err != nil {
			return err
		}
	}
	if f.wait > 0 {
		if res.End, err = p.awaitEnd(ctx, r, f); err != nil {
			return err
		}
	}
	return p.pushResult(res, f)
}

func (p *program) pushResult(res pushed, f pushFlags) error {
	if f.json {
		if err := p.printJSON(res); err != nil {
			return err
		}
	} else if res.End != nil {
		if err := p.print("%s", agent.Printable(endText(*res.End))); err != nil {
			return err
		}
	}
	switch {
	case f.wait > 0 && res.End == nil:
		p.say("job %s has no end yet and stays desired; to look: updraft sim awsiot show --device %s%s", res.Job, quoted(res.Device), f.again)
		return ended(exitWaiting)
	case res.End != nil && res.End.Result != "SUCCESS":
		return ended(exitRolledBack)
	}
	return nil
}

// softwareURL is the URL that stands for a file of the simulator, or the one
// that was given.
func softwareURL(given string, st cloudsim.State) (string, error) {
	if strings.Contains(given, "://") {
		return given, nil
	}
	name, query, asks := strings.Cut(given, "?")
	base, err := url.Parse(st.Endpoints.Files)
	switch {
	case err != nil:
		return "", fmt.Errorf("ask the simulator: the address of its file server is no URL")
	case st.Folder == "":
		return "", usagef("--url %s: expected a URL with its scheme, since the simulator has no --files", name)
	case net.ParseIP(base.Hostname()).IsUnspecified():
		return "", usagef("--url %s: the file server listens on all addresses; give the one that the device can reach, http://HOST:%s/files/…", name, base.Port())
	}
	if err := hasFile(st.Folder, name); err != nil {
		return "", usagef("--url: no file %s in %s: %w", quoted(name), quoted(st.Folder), err)
	}
	base = base.JoinPath(name)
	base.RawQuery, base.ForceQuery = query, asks && query == ""
	return base.String(), nil
}

func hasFile(folder, name string) (err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	info, err := root.Stat(name)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return path.Err // the caller names the file
	case err == nil && !info.Mode().IsRegular():
		return errors.New("it is something else")
	}
	return err
}

const simEvery = 100 * time.Millisecond // between two looks at the simulator

// awaitEnd shows progress until the cloud has the end of a job. It is nil if
// the time is over, or an interrupt came. A simulator that is away meanwhile
// is waited for: it knows the end when it is back.
func (p *program) awaitEnd(ctx context.Context, r cloudsim.Remote, f pushFlags) (*cloudsim.End, error) {
	ctx, stop := context.WithTimeout(ctx, f.wait)
	defer stop()
	progress := agent.Lines{To: p.stderr}
	var last engine.Event
	away := false
	for {
		st, err := r.State(ctx)
		if err != nil && ctx.Err() == nil && !away {
			p.say("%v; waiting for it", simError(err))
		}
		away = err != nil
		d := st.Devices[f.device]
		if end := endOf(d, f.job); end != nil {
			return end, nil
		}
		if e, ok := progressOf(d, f.job); ok && (e.Step != last.Step || e.Done != last.Done) {
			last = e
			e.Time = time.Now()
			progress.Show(e)
		}
		if disk.Real().Sleep(ctx, simEvery) != nil {
			return nil, nil
		}
	}
}

// endOf is the end of a job that was reported last, nil for none.
func endOf(d cloudsim.Device, job string) (end *cloudsim.End) {
	for i, e := range d.Ends {
		if e.Job == job && (end == nil || !e.Last.Before(end.Last)) {
			end = &d.Ends[i]
		}
	}
	return end
}

// progressOf is what a device reports of a job that goes on.
func progressOf(d cloudsim.Device, job string) (e engine.Event, ok bool) {
	said, _ := d.Reported["progress"].(map[string]any)
	if said["jobID"] != job {
		return e, false
	}
	number := func(name string) int64 {
		n, _ := said[name].(json.Number)
		v, _ := n.Int64()
		return v
	}
	e = engine.Event{Kind: engine.EventProgress, Run: job, Done: number("done"), Total: number("total")}
	e.Step, _ = said["step"].(string)
	return e, true
}
