package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/trust"
)

const (
	downloadTimeout = 30 * time.Second
	maxRedirects    = 5
)

// download reads a small file from an http(s) address. One that is not there
// is fs.ErrNotExist. Errors name the address without its query, which may be a
// secret.
func download(ctx context.Context, address string, limit int64) (data []byte, err error) {
	name := trust.Redact(address)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, usagef("%s: it cannot be read as an address", name)
	}
	client := http.Client{Timeout: downloadTimeout, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if via[len(via)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
			return errors.New("a redirect from https to http is refused")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, withoutAddress(err))
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, usagef("get %s: %w (%s)", name, fs.ErrNotExist, resp.Status)
	default:
		return nil, fmt.Errorf("get %s: the server says %s", name, agent.Printable(resp.Status))
	}
	data, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, withoutAddress(err))
	}
	if int64(len(data)) > limit {
		return nil, usagef("get %s: it has more than %d bytes", name, limit)
	}
	return data, nil
}

// withoutAddress drops the address that package net/http puts around an error.
func withoutAddress(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
