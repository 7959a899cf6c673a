package cloudsim

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Order does what an operator wants, for one device or all, and says what
// became of it. What was done for some devices stays done if another one
// fails. Errors wrap [ErrConfig] or [ErrState].
func (s *Sim) Order(ctx context.Context, o Order) ([]Done, error) {
	switch {
	case !slices.Contains(s.cloud.Verbs(), o.Verb):
		return nil, fmt.Errorf("%w: this cloud knows no %q (have %q)", ErrConfig, o.Verb, s.cloud.Verbs())
	case o.All == (o.Device != ""):
		return nil, fmt.Errorf("%w: expected one device or all", ErrConfig)
	case !o.All && !validID(o.Device):
		return nil, fmt.Errorf("%w: %q is no device id", ErrConfig, o.Device)
	}
	o.Given = o.Software
	for _, software := range []*Software{&o.Software, o.Delta, o.Source} {
		if software == nil {
			continue
		}
		if err := s.Describe(software); err != nil {
			return nil, err
		}
	}
	s.spoil(&o.Software)
	if o.Delta != nil {
		s.spoil(o.Delta)
	}
	if o.Verb == VerbPush || o.Verb == VerbReplace {
		o.Job = cmp.Or(o.Job, "job-"+strings.ToLower(rand.Text()[:10]))
	}
	devices := []string{o.Device}
	if o.All {
		devices = s.known()
	}
	var done []Done
	for _, device := range devices {
		o.Device = device
		d, messages, err := s.cloud.Order(ctx, o)
		if err != nil {
			if o.All {
				err = fmt.Errorf("%w; it was for %q", err, device)
			}
			return done, err
		}
		d.Device = device
		d.URL, _, _ = strings.Cut(d.URL, "?")
		s.Tell(Event{Kind: EventOrder, Client: device, Done: d, Text: string(o.Verb)})
		s.Send(messages...)
		done = append(done, d)
	}
	return done, nil
}

// known are the devices that have a record or came.
func (s *Sim) known() []string {
	s.mu.Lock()
	devices := slices.Collect(maps.Keys(s.seen))
	s.mu.Unlock()
	devices = slices.DeleteFunc(append(devices, s.book.Devices()...), func(d string) bool { return slices.Contains(s.cfg.Applications, d) })
	slices.Sort(devices)
	return slices.Compact(devices)
}

// Describe fills in what is missing of Size and digests and a File itself says.
// Software without a File stays as it is. Errors wrap [ErrConfig] for a file
// that is not there, and [ErrState] for one that cannot be read.
func (s *Sim) Describe(software *Software) error {
	if software.File == "" {
		return nil
	}
	if s.cfg.Files == "" {
		return fmt.Errorf("%w: %q: expected a URL with its scheme, since the simulator has no folder of files", ErrConfig, software.File)
	}
	f, info, err := openFile(s.cfg.Files, software.File)
	if err != nil {
		return fmt.Errorf("%w: no file %q in %q: %w", ErrConfig, software.File, s.cfg.Files, pathReason(err))
	}
	sums, err := s.digest(software.File, f, info)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: file %q: %w", ErrState, software.File, err)
	}
	software.Size = cmp.Or(software.Size, info.Size())
	software.MD5 = cmp.Or(software.MD5, sums.md5)
	software.SHA1 = cmp.Or(software.SHA1, sums.sha1)
	software.SHA256 = cmp.Or(software.SHA256, sums.sha256)
	return nil
}

// spoil does the faults of orders.
func (s *Sim) spoil(software *Software) {
	if software.Size > 0 && s.faults.hit(FaultWrongSize, software.File) {
		software.Size++
	}
	if software.File == "" || !s.faults.hit(FaultWrongHash, software.File) {
		return
	}
	for _, sum := range []*string{&software.MD5, &software.SHA1, &software.SHA256} {
		*sum = strings.Repeat("0", len(*sum))
	}
}

// Address is the URL of software for devices, as it is told now: under
// [FaultNewURL] each one has a query of its own.
func (s *Sim) Address(software Software) (string, error) {
	if software.File == "" {
		return software.URL, nil
	}
	base, err := url.Parse(s.at.Files)
	if err != nil {
		return "", fmt.Errorf("%w: address of files %q: %w", ErrConfig, s.at.Files, err)
	}
	if net.ParseIP(base.Hostname()).IsUnspecified() {
		return "", fmt.Errorf("%w: the file server listens on all addresses; say how devices reach it, http://HOST:%s/files/", ErrConfig, base.Port())
	}
	base = base.JoinPath(software.File)
	base.RawQuery = software.Query
	if s.faults.hit(FaultNewURL, software.File) {
		base.RawQuery = url.Values{"Expires": {fmt.Sprint(s.Now().Unix() + 3600)}, "Signature": {rand.Text()}}.Encode()
	}
	return base.String(), nil
}

// pathReason is an error of a file without its name, which the caller says.
func pathReason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
