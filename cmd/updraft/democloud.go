package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
	"github.com/updraft-ota/updraft/engine"
)

const (
	demoDevice = "gw-1"
	endTime    = 30 * time.Second // for an update
)

// demoCloud is the simulated cloud of the demo, and shows what it sees. Its
// methods may be called by any goroutine.
type demoCloud struct {
	sim   *aws.Sim
	page  *page
	trace io.Closer
	stop  context.CancelFunc
	watch sync.WaitGroup
}

// startCloud starts the cloud and shows from then on what it sees.
func (d *demo) startCloud(ctx context.Context) error {
	folder := d.path("cloud")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	trace, err := os.Create(filepath.Join(folder, "trace.ndjson"))
	if err != nil {
		return err
	}
	c := &demoCloud{page: d.page, trace: trace}
	c.sim, err = aws.Start(cloudsim.Config{State: folder, Files: d.path("releases"), Trace: trace, Events: c.event})
	if err != nil {
		return errors.Join(err, trace.Close())
	}
	d.cloud = c
	ctx, c.stop = context.WithCancel(ctx)
	c.watch.Go(func() {
		var last engine.Event
		_, _ = c.sim.Wait(ctx, demoDevice, func(d aws.Device) bool { // ends with ctx
			job, _ := d.Desired["jobID"].(string)
			if e, ok := progressOf(c.record(), job); ok && (e.Run != last.Run || e.Step != last.Step || e.Done != last.Done) {
				last = e
				e.Time = time.Now()
				c.page.sees(e)
			}
			return false
		})
	})
	at := c.sim.Endpoints()
	d.page.tell("cloud", "cloud", facts{"broker": at.Broker, "files": at.Files, "trace": "cloud/trace.ndjson"},
		"broker %s, file server %s", at.Broker, at.Files)
	return nil
}

func (c *demoCloud) close() error {
	c.stop()
	c.watch.Wait()
	return errors.Join(c.sim.Close(), c.trace.Close())
}

// event shows what happens at the cloud.
func (c *demoCloud) event(e cloudsim.Event) {
	switch e.Kind {
	case cloudsim.EventConnected, cloudsim.EventGone:
		c.page.tell("cloud", string(e.Kind), facts{"device": e.Client}, "%s", simLine(e))
	case cloudsim.EventOrder:
		_, version, _ := strings.Cut(e.Done.Job, "-")
		c.page.fresh()
		c.page.tell("cloud", "desired", facts{"device": e.Client, "job": e.Done.Job, "version": version},
			"%s is to do job %s: %s", e.Client, e.Done.Job, e.Done.URL)
	case cloudsim.EventReport:
		f := facts{"device": e.Client, "job": e.End.Job, "result": e.End.Result, "report": e.End.Report, "arrivals": e.End.Arrivals}
		if e.End.Code != "" {
			f["code"], f["message"] = e.End.Code, e.End.Message
		}
		format := "%s"
		if e.End.Arrivals > 1 { // said again on connect
			format = ""
		}
		message := e.End.Message
		e.End.Message = ""
		c.page.fresh()
		c.page.tell("cloud", "reported", f, format, simLine(e))
		if message != "" && format != "" {
			c.page.note("", "%s", message)
		}
	}
}

// connects counts how often the device has connected.
func (c *demoCloud) connects() int { return c.sim.Clients()[demoDevice].Connects }

// ask has the device update itself to a version.
func (c *demoCloud) ask(version string) error {
	_, err := c.sim.Push(demoDevice, map[string]any{
		"jobID": jobOf(version), "version": version, "softwareURL": c.sim.Endpoints().Files + version + "/" + manifestName,
	})
	return err
}

func jobOf(version string) string { return "to-" + version }

// record is what the cloud keeps of the device.
func (c *demoCloud) record() cloudsim.Record {
	r, _ := c.sim.Book().Look(demoDevice)
	return r
}

// served counts the bytes that a file of a release has cost, by its name.
func (c *demoCloud) served(version, file string) cloudsim.Served {
	return c.sim.Served()[version+"/"+file]
}

// sees gives the progress of a job, as far as the cloud was told.
func (c *demoCloud) sees(job string) (done, total int64) {
	e, _ := progressOf(c.record(), job)
	return e.Done, e.Total
}

// hears waits until the cloud has the end of a job, and holds it to what was
// promised. The agent must be there to tell it.
func (d *demo) hears(ctx context.Context, version, result, state, code string) error {
	job := jobOf(version)
	var end *cloudsim.End
	err := until(ctx, endTime, "the cloud hears how job "+job+" went", func() (bool, error) {
		end = endOf(d.cloud.sim.Device(demoDevice).Ends, job)
		return end != nil, d.agent.runs()
	})
	if err != nil {
		return err
	}
	said, _ := d.cloud.sim.Device(demoDevice).Reported["error"].(map[string]any)
	why, _ := said["state"].(string)
	if err := d.promise(end.Result == result && end.Code == code && why == state, "the cloud hears %s %s %q of job %s, want %s %s %q",
		end.Result, why, end.Code, job, result, state, code); err != nil || state == "" {
		return err
	}
	d.page.tell("checked", "checked", facts{"promise": "the cloud knows why", "state": why, "code": end.Code}, "the cloud knows: %s, because of: %s", why, end.Code)
	return nil
}

// lookBack shows what the cloud knows in the end: of each job one end, in one
// report.
func (d *demo) lookBack(context.Context) error {
	d.page.chapter("What the cloud knows: one end of each job, in one report")
	ends := d.cloud.sim.Device(demoDevice).Ends
	if err := d.promiseEnds(ends); err != nil {
		return err
	}
	for _, e := range ends {
		d.page.note("cloud", "%-9s %-7s report %s, arrived %s", e.Job, e.Result, e.Report, times(e.Arrivals))
	}
	d.page.tell("checked", "checked", facts{"promise": "one report each", "jobs": len(ends)},
		"each job has one end and one report id; the last report is said again at each connect")
	return nil
}

// promiseEnds holds what the cloud heard to the story.
func (d *demo) promiseEnds(ends []cloudsim.End) error {
	want := []cloudsim.End{
		{Job: jobOf(better), Result: "SUCCESS"},
		{Job: jobOf(broken), Result: "FAILURE", Code: "probe", Message: unhealthy},
		{Job: jobOf(patched), Result: "SUCCESS"},
	}
	if err := d.promise(len(ends) == len(want), "the cloud knows %d ends, want %d", len(ends), len(want)); err != nil {
		return err
	}
	ids := map[string]bool{}
	for i, e := range ends {
		w := want[i]
		if err := d.promise(e.Job == w.Job && e.Result == w.Result && e.Code == w.Code && strings.Contains(e.Message, w.Message),
			"end %d is %s, want %s", i+1, endText(e), endText(w)); err != nil {
			return err
		}
		if err := d.promise(e.Report != "" && !ids[e.Report] && e.Arrivals > 0, "report %q of job %s is not one of its own", e.Report, e.Job); err != nil {
			return err
		}
		ids[e.Report] = true
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
