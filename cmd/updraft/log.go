package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	followEvery = 200 * time.Millisecond
	maxEvents   = 8 << 20 // bytes that are read at a time
)

func (p *program) logCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "log",
		Short: "Show the events of the last runs",
		Long: `Show the events that were written while the last runs went on. Progress in bytes
is not kept; updraft status shows the latest. The file begins anew after 1 MiB.
With --json each event is printed as it stands in the file, a line of JSON with
the fields that updraft run --help explains.`,
		Example:           "  updraft log --device device.yaml --follow",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	at := addPlace(c)
	asJSON := c.Flags().Bool("json", false, "print the events as lines of JSON")
	follow := c.Flags().BoolP("follow", "f", false, "wait for more until the last run has ended")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		if err := at.there(); err != nil {
			return err
		}
		t := &tail{fs: disk.OS(), name: filepath.Join(at.dir(), engine.EventsFile)}
		plain := &agent.Lines{To: p.stdout, Times: true}
		show := func(line []byte, e engine.Event) error {
			if *asJSON {
				_, err := p.stdout.Write(line)
				return err
			}
			plain.Show(e)
			return nil
		}
		return p.log(cmd.Context(), t, *follow, show)
	}
	return c
}

func (p *program) log(ctx context.Context, t *tail, follow bool, show func([]byte, engine.Event) error) error {
	for first := true; ; first = false {
		n, err := t.read(show)
		if err != nil {
			return err
		}
		if first && n == 0 && t.offset == 0 {
			p.say("no events yet in %s", t.name)
		}
		if !follow || t.ended && n == 0 {
			return nil
		}
		if disk.Real().Sleep(ctx, followEvery) != nil {
			return nil // whoever follows also ends it: that is no error
		}
	}
}

// tail reads a file of events that grows and now and then begins anew.
type tail struct {
	fs     disk.FS
	name   string
	offset int64
	ended  bool // the last run that was seen has ended
}

// read hands on what is new, whole lines only, and gives their number. A line
// that is damaged, as a power cut can leave one, is passed over.
func (t *tail) read(show func(line []byte, e engine.Event) error) (n int, err error) {
	f, err := t.fs.OpenFile(t.name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if size < t.offset {
		t.offset = 0
	}
	data, err := io.ReadAll(io.NewSectionReader(f, t.offset, min(size-t.offset, maxEvents)))
	if err != nil {
		return 0, err
	}
	for {
		end := bytes.IndexByte(data, '\n') + 1
		if end == 0 {
			return n, nil
		}
		line := data[:end]
		data, t.offset = data[end:], t.offset+int64(end)
		var e engine.Event
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		if e.Kind == engine.EventRun {
			t.ended = isEnd(e.State)
		}
		n++
		if err := show(line, e); err != nil {
			return n, err
		}
	}
}
