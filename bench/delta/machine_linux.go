package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

var fileSystems = map[int64]string{0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs", 0x794c7630: "overlay"}

// load is how many threads wanted to run in the last minute.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg") // without it the field is empty
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}

// describe asks Linux.
func (m *machine) describe(dir string) error {
	m.CPU = valueOf("/proc/cpuinfo", "model name", ":")
	m.System = valueOf("/etc/os-release", "PRETTY_NAME", "=")
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return err
	}
	m.Memory = int64(info.Totalram) * int64(info.Unit)
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	m.Kernel = "Linux " + strings.TrimRight(string(name.Release[:]), "\x00") + " " + strings.TrimRight(string(name.Machine[:]), "\x00")
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	m.FileSystem = fileSystems[int64(uint32(fs.Type))]
	if m.FileSystem == "" {
		m.FileSystem = fmt.Sprintf("type %#x", uint32(fs.Type))
	}
	if m.FileSystem == "tmpfs" {
		return fmt.Errorf("%s is in memory, where syncing costs nothing: choose a folder on a disk with -work", dir)
	}
	return nil
}
