package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// machine is where figures come from.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	System string `json:"system"`
	Go     string `json:"go"`
	Wazero string `json:"wazero"`
	Files  string `json:"files"` // kind of file system
}

// thisMachine describes the machine as far as Linux tells; dir is where files are.
func thisMachine(dir string) machine {
	m := machine{
		CPU:    cmp.Or(valueOf("/proc/cpuinfo", "model name", ":"), runtime.GOARCH),
		Cores:  runtime.NumCPU(),
		Memory: "unknown memory",
		System: cmp.Or(valueOf("/etc/os-release", "PRETTY_NAME", "="), runtime.GOOS),
		Go:     runtime.Version(),
		Wazero: "wazero",
		Files:  cmp.Or(fileSystem(dir), "an unknown file system"),
	}
	kib, _, _ := strings.Cut(valueOf("/proc/meminfo", "MemTotal", ":"), " ")
	if n, err := strconv.ParseInt(kib, 10, 64); err == nil {
		m.Memory = fmt.Sprintf("%d GiB", (n+1<<19)>>20)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				m.Wazero = "wazero " + d.Version
			}
		}
	}
	return m
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

// fileSystem is the kind of the mount that dir is on.
func fileSystem(dir string) string {
	text, _ := os.ReadFile("/proc/self/mounts") // as above
	kind, longest := "", -1
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) <= longest {
			continue
		}
		if below := strings.TrimSuffix(f[1], "/") + "/"; strings.HasPrefix(dir+"/", below) {
			kind, longest = f[2], len(f[1])
		}
	}
	return kind
}
