package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/stages"
)

const (
	deliverTries = 5
	deliverWait  = 30 * time.Second // for one answer
)

func (a *Agent) send(ctx context.Context, to device.Receiver, id string, body []byte) error {
	if to.File != "" {
		return appendLine(to.File, body)
	}
	ctx, cancel := context.WithTimeout(ctx, deliverWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.HTTP, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("report to %s: not a URL", trust.Redact(to.HTTP))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", id)
	resp, err := (&http.Client{Transport: a.transport()}).Do(req)
	if err != nil {
		return fmt.Errorf("report to %s: %w", trust.Redact(to.HTTP), errors.Unwrap(err))
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("report to %s: %w", trust.Redact(to.HTTP), err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("report to %s: answered %s", trust.Redact(to.HTTP), resp.Status)
	}
	return nil
}

func (a *Agent) transport() http.RoundTripper {
	if a.config.HTTP == nil {
		a.config.HTTP = stages.NewTransport(nil)
	}
	return a.config.HTTP
}

// appendLine adds one line to a file and makes it durable. A line that a power cut
// left half written is ended first, so that each whole line is one report.
func appendLine(name string, line []byte) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("report to file: %w", err)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil && end > 0 {
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, end-1); err == nil && last[0] != '\n' {
			line = append([]byte("\n"), line...)
		}
	}
	if err == nil {
		_, err = f.WriteAt(append(line, '\n'), end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("report to file: %w", err)
	}
	return nil
}
