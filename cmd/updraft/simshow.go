package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/internal/document"
)

// simShown is the result of show.
type simShown struct {
	Endpoints cloudsim.Endpoints   `json:"endpoints"`
	Devices   map[string]simDevice `json:"devices"`
	Faults    []cloudsim.Fault     `json:"faults"`
}

// simDevice is what a cloud knows of a device.
type simDevice struct {
	cloudsim.Client
	Doc  any            `json:"doc"` // in the vendor's own words
	Ends []cloudsim.End `json:"ends"`
}

func (p *program) simShowCommand(plane simPlane) *cobra.Command {
	c := &cobra.Command{
		Use:   "show",
		Short: "Show what the cloud knows of devices",
		Long: `Show whether devices are connected, what the cloud keeps of them, and the ends of
their jobs with how often each report arrived. Queries of URLs are left out. With
--json the result is an object with endpoints, devices by id (connected,
connects, last, doc in the vendor's own words, ends) and faults.`,
		Example:           "  updraft sim " + plane.name + " show --device gw-1",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	at := addSimPlace(c, plane)
	device := c.Flags().String("device", "", "`ID` of the only device to show")
	must(c.RegisterFlagCompletionFunc("device", cobra.NoFileCompletions))
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := at.remote()
		if err != nil {
			return err
		}
		st, err := r.State(cmd.Context())
		if err != nil {
			return simError(err, plane)
		}
		s := shownOf(st)
		if cmd.Flags().Changed("device") {
			d, ok := s.Devices[*device]
			if !ok {
				return usagef("%s", document.Unknown("device", *device, slices.Sorted(maps.Keys(s.Devices))))
			}
			s.Devices = map[string]simDevice{*device: d}
		}
		if *asJSON {
			return p.printJSON(s)
		}
		return p.printSim(s, plane)
	}
	return c
}

func shownOf(st cloudsim.State) simShown {
	s := simShown{Endpoints: st.Endpoints, Devices: map[string]simDevice{}, Faults: st.Faults}
	for id, d := range st.Devices {
		s.Devices[id] = simDevice{Client: st.Clients[id], Doc: members(d), Ends: append([]cloudsim.End{}, d.Ends...)}
	}
	for id, client := range st.Clients {
		if _, ok := s.Devices[id]; !ok {
			s.Devices[id] = simDevice{Client: client, Doc: members(cloudsim.Record{}), Ends: []cloudsim.End{}}
		}
	}
	return s
}

// members are what a record holds, an empty object for nothing.
func members(r cloudsim.Record) any {
	doc := map[string]any{}
	if err := r.Read(&doc); err != nil {
		return map[string]any{"error": err.Error()}
	}
	return withoutQueries(doc)
}

func (p *program) printSim(s simShown, plane simPlane) error {
	if len(s.Devices) == 0 {
		p.say("no device has connected, and nothing is desired yet")
	}
	for _, id := range slices.Sorted(maps.Keys(s.Devices)) {
		for _, line := range deviceLines(id, s.Devices[id], plane) {
			if err := p.print("%s", agent.Printable(line)); err != nil {
				return err
			}
		}
	}
	for _, f := range s.Faults {
		if err := p.print("fault %s", faultText(f)); err != nil {
			return err
		}
	}
	return nil
}

func deviceLines(id string, d simDevice, plane simPlane) []string {
	state := "never connected"
	switch {
	case d.Connected:
		state = "connected since " + clock(d.Last)
	case d.Connects > 0 && plane.polls:
		state = "last came " + clock(d.Last)
	case d.Connects > 0:
		state = "not connected, last came " + clock(d.Last)
	}
	lines := []string{id + ": " + state}
	doc, _ := d.Doc.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		switch part := doc[key].(type) {
		case map[string]any:
			if !strings.HasPrefix(key, "_") {
				lines = append(lines, fmt.Sprintf("  %-9s %s", key, memberText(part)))
			}
		case string, json.Number:
			if !strings.HasPrefix(key, "_") {
				lines = append(lines, fmt.Sprintf("  %-9s %v", key, part))
			}
		}
	}
	for _, e := range d.Ends {
		lines = append(lines, "  end       "+clock(e.First)+" "+endText(e))
	}
	return lines
}

func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// memberText is an object in one line: KEY=VALUE by name, "-" for none. Names
// that begin with "_" are for the simulator alone. Text
// stands without quotes if nothing can be mistaken.
func memberText(v any) string {
	doc, _ := v.(map[string]any)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		if strings.HasPrefix(key, "_") {
			continue
		}
		text, plain := doc[key].(string)
		if !plain || text == "" || strings.ContainsAny(text, " \"\t\n") {
			data, err := json.Marshal(doc[key])
			if err != nil {
				data = fmt.Appendf(nil, "%v", doc[key])
			}
			text = string(data)
		}
		out = append(out, key+"="+text)
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, " ")
}
