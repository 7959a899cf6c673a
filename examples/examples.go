// Package examples holds the modules of these folders as files, so that a
// program can start a project from one of them: see updraft module new.
package examples

import "embed"

// Modules are the install and compat steps, a folder each with the manifest,
// the source and, where the language has them, its unit tests. Beside them in
// a project lies what toolchain.SDK gives.
//
//go:embed install-*/updraft.json install-*/main.* install-*/main_test.*
//go:embed compat-*/updraft.json compat-*/main.* compat-*/main_test.*
var Modules embed.FS
