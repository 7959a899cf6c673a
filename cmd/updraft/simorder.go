package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// orderFlags say what is wanted of a device.
type orderFlags struct {
	plane                          simPlane
	verb                           cloudsim.Verb
	device, url, job, version      string
	sha256, md5, sha1, delta, from string
	size                           int64
	set                            []string
	all                            bool
	wait                           time.Duration
	json                           bool
	again                          string         // flags that lead to the simulator, for messages
	before                         map[string]int // ends of devices that do not count
}

// ordered is the result of an order for one device.
type ordered struct {
	cloudsim.Done
	End *cloudsim.End `json:"end,omitempty"` // if it was waited for
}

// simVerbs are the orders for people.
var simVerbs = map[cloudsim.Verb]struct{ short, long string }{
	cloudsim.VerbPush: {"Want an update of a device", `Want an update of a device, as an operator does at the vendor's console. The
device hears of it at once, or when it comes.`},
	cloudsim.VerbReplace: {"Want another update in place of the one under way", `Want another update of a device in place of the one under way.`},
	cloudsim.VerbCancel:  {"Stop an update", `Stop the update of a device that is under way, as the vendor does.`},
	cloudsim.VerbRetry:   {"Try an update once more", `Have a device try its last update once more, as the vendor does.`},
}

func (p *program) simOrderCommand(plane simPlane, verb cloudsim.Verb) *cobra.Command {
	about := simVerbs[verb]
	software := verb == cloudsim.VerbPush || verb == cloudsim.VerbReplace
	long := about.long
	if software {
		long += `

A --url without a scheme is the name of a file below --files of the simulator,
and becomes its address there; a query may follow it. A device does a job once,
so each push is a new job unless --job says otherwise.`
	}
	members := "There are no members."
	switch {
	case software:
		members = plane.set
	case verb == cloudsim.VerbCancel && plane.stop != "":
		members = plane.stop
	}
	long += `

--set adds members by name. A value that is JSON is taken as that, all else as
text. ` + members + `

The exit code is 0, or with --wait: 0 if the update succeeded, 4 if not, 6 if
there is no end yet. With --json the result is an object with device, job, url,
text and end: job, outcome, result, code, message, report (its id), arrivals,
first and last; with --all a list of them.`
	example := fmt.Sprintf("  updraft sim %s %s --device gw-1", plane.name, verb)
	if software {
		example += " --url gateway-2.0.img --version 2.0 --wait 5m"
	}
	c := &cobra.Command{
		Use:               string(verb),
		Short:             about.short,
		Long:              long,
		Example:           example,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	at := addSimPlace(c, plane)
	f := orderFlags{plane: plane, verb: verb}
	c.Flags().StringVar(&f.device, "device", "", "`ID` of the device")
	c.Flags().BoolVar(&f.all, "all", false, "each device that the cloud has seen, in place of --device")
	c.Flags().StringVar(&f.job, "job", "", "`ID` of the job (default a random one, which is printed)")
	without := []string{"device", "job", "set", "wait"}
	if software {
		c.Flags().StringVar(&f.url, "url", "", "`URL` of the software, or a file name below --files of the simulator")
		c.Flags().StringVar(&f.version, "version", "", "version `V` of the software")
		c.Flags().StringVar(&f.sha256, "sha256", "", "SHA-256 of the software, `HEX` (default of the file)")
		c.Flags().StringVar(&f.sha1, "sha1", "", "SHA-1 of the software, `HEX` (default of the file)")
		c.Flags().StringVar(&f.md5, "md5", "", "MD5 of the software, `HEX` (default of the file)")
		c.Flags().Int64Var(&f.size, "size", 0, "size of the software, `N` bytes (default of the file)")
		c.Flags().StringVar(&f.delta, "delta", "", "`FILE` with a patch to the software, for clouds that know such")
		c.Flags().StringVar(&f.from, "from", "", "`FILE` that the patch is from")
		c.MarkFlagsRequiredTogether("delta", "from")
		without = append(without, "url", "version", "sha256", "sha1", "md5", "size", "delta", "from")
	}
	c.Flags().StringArrayVar(&f.set, "set", nil, "`KEY=VALUE` in the vendor's words, repeatable")
	c.Flags().DurationVar(&f.wait, "wait", 0, "wait so long for the end, such as 5m")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("device", "all")
	for _, name := range without {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if !f.all {
			if err := needs(cmd, "device"); err != nil {
				return err
			}
		}
		o, err := f.order(cmd.Flags().Changed)
		if err != nil {
			return err
		}
		r, err := at.remote()
		if err != nil {
			return err
		}
		f.again = at.flags()
		return p.simOrder(cmd.Context(), r, f, o)
	}
	return c
}

var (
	jobID     = regexp.MustCompile(`^[A-Za-z0-9._:=~-]{1,128}$`)
	hexDigits = regexp.MustCompile(`^[0-9A-Fa-f]*$`)
)

// order checks the flags and makes the order of them.
func (f *orderFlags) order(given func(flag string) bool) (o cloudsim.Order, err error) {
	o = cloudsim.Order{Verb: f.verb, Device: f.device, All: f.all, Job: f.job}
	switch {
	case given("job") && !jobID.MatchString(f.job):
		return o, usagef("--job %q: expected 1 to 128 letters, digits and ._:=~-", f.job)
	case f.size < 0:
		return o, usagef("--size %d: expected a number of bytes", f.size)
	case given("wait") && f.wait <= 0:
		return o, usagef("--wait %v: expected a time to wait, such as 5m", f.wait)
	case given("url") && f.url == "":
		return o, usagef("--url: expected a URL or the name of a file")
	}
	for _, sum := range []struct {
		flag, value string
		digits      int
	}{{"sha256", f.sha256, 64}, {"sha1", f.sha1, 40}, {"md5", f.md5, 32}} {
		if given(sum.flag) && (len(sum.value) != sum.digits || !hexDigits.MatchString(sum.value)) {
			return o, usagef("--%s %q: expected %d hexadecimal digits", sum.flag, sum.value, sum.digits)
		}
	}
	o.Software = software(f.url)
	o.Software.Version, o.Software.Size = f.version, f.size
	o.Software.SHA256, o.Software.SHA1, o.Software.MD5 = strings.ToLower(f.sha256), strings.ToLower(f.sha1), strings.ToLower(f.md5)
	if f.delta != "" {
		delta, from := software(f.delta), software(f.from)
		o.Delta, o.Source = &delta, &from
	}
	o.Set, err = setMembers(f.set)
	return o, err
}

// software is what a URL or the name of a file stands for.
func software(given string) cloudsim.Software {
	if strings.Contains(given, "://") {
		return cloudsim.Software{URL: given}
	}
	name, query, _ := strings.Cut(given, "?")
	return cloudsim.Software{File: name, Query: query}
}

// setMembers reads KEY=VALUE words.
func setMembers(words []string) (map[string]any, error) {
	var set map[string]any
	for _, word := range words {
		key, text, ok := strings.Cut(word, "=")
		if _, twice := set[key]; twice {
			return nil, usagef("--set %s: it was given twice", key)
		}
		if !ok || key == "" {
			return nil, usagef("--set %s: expected KEY=VALUE", word)
		}
		if set == nil {
			set = map[string]any{}
		}
		if set[key] = text; json.Valid([]byte(text)) {
			set[key] = json.RawMessage(text)
		}
	}
	return set, nil
}

func (p *program) simOrder(ctx context.Context, r cloudsim.Remote, f orderFlags, o cloudsim.Order) error {
	if f.verb == cloudsim.VerbRetry { // whose end is another one than those that are known
		st, err := r.State(ctx)
		if err != nil {
			return simError(err, f.plane)
		}
		f.before = map[string]int{}
		for device, record := range st.Devices {
			f.before[device] = len(record.Ends)
		}
	}
	done, err := r.Order(ctx, o)
	if err != nil {
		return simError(err, f.plane)
	}
	results := make([]ordered, len(done))
	for i, d := range done {
		results[i].Done = d
		if f.json {
			continue
		}
		text := fmt.Sprintf("job %s for %s", d.Job, d.Device)
		if d.URL != "" {
			text += ": " + agent.Printable(d.URL)
		}
		if d.Text != "" {
			text += " (" + agent.Printable(d.Text) + ")"
		}
		if err := p.print("%s", text); err != nil {
			return err
		}
	}
	if f.wait > 0 {
		if err := p.awaitEnds(ctx, r, f, results); err != nil {
			return err
		}
	}
	return p.orderResult(results, f)
}

func (p *program) orderResult(results []ordered, f orderFlags) error {
	if f.json {
		var v any = results
		if !f.all && len(results) == 1 {
			v = results[0]
		}
		if err := p.printJSON(v); err != nil {
			return err
		}
	}
	waiting, failed := 0, 0
	for _, res := range results {
		switch {
		case res.End == nil:
			waiting++
			if f.wait > 0 && waiting == 1 {
				p.say("job %s has no end yet and stays desired; to look: updraft sim %s show --device %s%s", res.Job, f.plane.name, quoted(res.Device), f.again)
			}
			continue
		case res.End.Outcome != cloudsim.Succeeded:
			failed++
		}
		text := endText(*res.End)
		if f.all {
			text = res.Device + ": " + text
		}
		if !f.json {
			if err := p.print("%s", agent.Printable(text)); err != nil {
				return err
			}
		}
	}
	switch {
	case f.wait == 0:
	case failed > 0:
		return ended(exitRolledBack)
	case waiting > 0:
		return ended(exitWaiting)
	}
	return nil
}

const simEvery = 100 * time.Millisecond // between two looks at the simulator

// awaitEnds shows progress until the cloud has the ends of all. What has no
// end when the time is over, or an interrupt came, has none. A simulator that
// is away meanwhile is waited for: it knows the ends when it is back.
func (p *program) awaitEnds(ctx context.Context, r cloudsim.Remote, f orderFlags, results []ordered) error {
	ctx, stop := context.WithTimeout(ctx, f.wait)
	defer stop()
	progress := agent.Lines{To: p.stderr}
	var last engine.Event
	away := false
	for {
		st, err := r.State(ctx)
		if err != nil && ctx.Err() == nil && !away {
			p.say("%v; waiting for it", simError(err, f.plane))
		}
		away = err != nil
		missing := 0
		for i, res := range results {
			ends := st.Devices[res.Device].Ends
			if results[i].End = endOf(ends[min(f.before[res.Device], len(ends)):], res.Job); results[i].End == nil {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		if e, ok := progressOf(st.Devices[results[0].Device], results[0].Job); ok && (e.Step != last.Step || e.Done != last.Done) {
			last = e
			e.Time = time.Now()
			progress.Show(e)
		}
		if disk.Real().Sleep(ctx, simEvery) != nil {
			return nil
		}
	}
}

// endOf is the end of a job that was reported last, nil for none.
func endOf(ends []cloudsim.End, job string) (end *cloudsim.End) {
	for i, e := range ends {
		if e.Job == job && (end == nil || !e.Last.Before(end.Last)) {
			end = &ends[i]
		}
	}
	return end
}

// progressOf is what a device reports in a shadow of a job that goes on.
func progressOf(r cloudsim.Record, job string) (e engine.Event, ok bool) {
	var doc struct {
		Reported struct {
			Progress struct {
				Job   string `json:"jobID"`
				Step  string `json:"step"`
				Done  int64  `json:"done"`
				Total int64  `json:"total"`
			} `json:"progress"`
		} `json:"reported"`
	}
	if r.Read(&doc) != nil || job == "" || doc.Reported.Progress.Job != job {
		return e, false
	}
	said := doc.Reported.Progress
	return engine.Event{Kind: engine.EventProgress, Run: job, Step: said.Step, Done: said.Done, Total: said.Total}, true
}
