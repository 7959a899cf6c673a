package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// job is one command to be measured.
type job struct {
	Command command
	Time    time.Duration // the command is killed after it
	Memory  int64         // bytes of address space it may take
}

// outcome says how a command, or a chain of them, ended.
type outcome string

const (
	ok       outcome = "ok"
	noTime   outcome = "time"   // killed at the time limit
	noMemory outcome = "memory" // failed for want of memory at the memory limit
	failed   outcome = "failed"
	wrong    outcome = "wrong" // ended well, but the file is not the new one
)

// usage is what a command took.
type usage struct {
	Outcome outcome
	Words   string // its last words, if it did not end well
	Wall    time.Duration
	CPU     time.Duration // of user and system
	RSS     int64         // bytes, peak
	Stdout  []byte        `json:",omitempty"` // its beginning
}

// measureWord makes this program measure the job on its standard input.
const measureWord = "measure"

// measure runs a command in a fresh process and says what it took.
//
// A process in between starts it: Linux counts the memory of the process that
// starts another towards the other's peak, and that one is smaller than this.
func measure(ctx context.Context, j job) (usage, error) {
	self, err := os.Executable()
	if err != nil {
		return usage{}, err
	}
	in, err := json.Marshal(j)
	if err != nil {
		return usage{}, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, self, measureWord)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return usage{}, errors.Join(ctx.Err(), fmt.Errorf("measure %s: %w", j.Command.Args[0], err))
	}
	var u usage
	if err := json.Unmarshal(out.Bytes(), &u); err != nil {
		return usage{}, fmt.Errorf("measure %s: %w", j.Command.Args[0], err)
	}
	return u, nil
}

// measureJob is the process in between: a job in, its usage out.
func measureJob() error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return err
	}
	u, err := j.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(u)
}

// judge turns the end of a command into an outcome and words.
func judge(err error, timedOut bool, stderr string) (outcome, string) {
	switch {
	case err == nil:
		return ok, ""
	case timedOut:
		return noTime, ""
	}
	words := lastLine(stderr)
	if words == "" {
		words = err.Error()
	}
	low := strings.ToLower(stderr)
	if strings.Contains(low, "memory") || strings.Contains(low, "alloc") {
		return noMemory, words
	}
	return failed, words
}

// lastLine gives the last line of a program's messages that says something, at
// most 200 bytes of it.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r", "\n")), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	return line[:min(len(line), 200)]
}

// head keeps the first max bytes of what is written to it, or the last ones if
// it is a tail.
type head struct {
	bytes []byte
	max   int
	tail  bool
}

func (h *head) Write(p []byte) (int, error) {
	h.bytes = append(h.bytes, p...)
	if over := len(h.bytes) - h.max; over > 0 {
		if h.tail {
			h.bytes = append(h.bytes[:0], h.bytes[over:]...)
		} else {
			h.bytes = h.bytes[:h.max]
		}
	}
	return len(p), nil
}
