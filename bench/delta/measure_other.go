//go:build !linux

package main

import (
	"errors"
	"fmt"
	"runtime"
)

var errSystem = fmt.Errorf("measure on %s: memory is measured as Linux does it: %w", runtime.GOOS, errors.ErrUnsupported)

func (j job) run() (usage, error) { return usage{}, errSystem }

func dropCaches() error { return errSystem }

func load() string { return "" }

func (m *machine) describe(string) error { return errSystem }
