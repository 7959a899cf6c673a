package stages

import (
	"context"

	"github.com/updraft-ota/updraft/engine"
)

// Report sends an interim report: an event that the user's screen and the
// clouds show. The terminal report needs no step; it is always sent.
type Report struct {
	// Text is the message, such as "downloaded, waiting for the night".
	Text string `yaml:"text,required"`
}

// Do sends the report.
func (s *Report) Do(_ context.Context, t *engine.Task) error {
	t.Report(s.Text)
	return nil
}

// Plan lists nothing: a report changes nothing on the device.
func (s *Report) Plan(context.Context, *engine.Task) ([]engine.Effect, error) { return nil, nil }

var _ engine.Doer = (*Report)(nil)
