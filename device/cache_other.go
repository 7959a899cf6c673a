//go:build !linux

package device

import "github.com/updraft-ota/updraft/internal/disk"

// forgetCache does nothing: there is no way to do so.
func forgetCache(disk.File) {}
