package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine is where figures come from.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     int64  `json:"memory"` // bytes
	System     string `json:"system"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"fileSystem"` // that the patches and results are on
	Go         string `json:"go"`
}

// speeds are what one thread of a machine did in the same run, in MB/s. They
// scale what is asked for in seconds.
type speeds struct {
	SHA256 float64 `json:"sha256"`
	Copy   float64 `json:"copy"` // of memory
}

const speedsWord = "speeds"

// measureSpeeds measures them in a process of its own, because the buffers
// would count towards the memory of what this one starts.
func measureSpeeds(ctx context.Context) (speeds, error) {
	self, err := os.Executable()
	if err != nil {
		return speeds{}, err
	}
	out, err := exec.CommandContext(ctx, self, speedsWord).Output()
	if err != nil {
		return speeds{}, fmt.Errorf("measure the machine's speed: %w", err)
	}
	var s speeds
	err = json.Unmarshal(out, &s)
	return s, err
}

func printSpeeds() error {
	const size, rounds = 64 << 20, 5
	from, to := bytes.Repeat([]byte{1, 2, 3, 4}, size/4), make([]byte, size)
	s := speeds{
		SHA256: best(rounds, size, func() { sha256.Sum256(from) }),
		Copy:   best(rounds, size, func() { copy(to, from) }),
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// best is the speed in MB/s of the fastest round, the first not counted.
func best(rounds, size int, do func()) float64 {
	do()
	fastest := time.Duration(1<<63 - 1)
	for range rounds {
		began := time.Now()
		do()
		fastest = min(fastest, time.Since(began))
	}
	return float64(size) / 1e6 / fastest.Seconds()
}

// thisMachine describes the machine; dir is where results are written.
func thisMachine(dir string) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	return m, m.describe(dir)
}

// valueOf finds "key : value" or key="value" in the lines of a file.
func valueOf(file, key, mark string) string {
	text, _ := os.ReadFile(file) // a machine without it has an empty field
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, mark); found && strings.TrimSpace(name) == key {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}
