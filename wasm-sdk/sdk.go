// Package sdk holds what vendors write modules with, in each language, as
// files that a program can write into a new project: see toolchain.SDK.
package sdk

import "embed"

// Files are the SDKs by language (go, c, rust, assemblyscript, zig), and abi,
// which that of Go imports. Tests of Go packages are among them.
//
//go:embed abi/*.go go/*.go c/*.h rust/updraft.rs assemblyscript/updraft.ts zig/updraft.zig
var Files embed.FS
