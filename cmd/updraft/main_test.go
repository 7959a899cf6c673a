package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
)

func TestMain(m *testing.M) {
	if code, is := agent.ModuleProcess(os.Args[1:]); is {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){
		"updraft": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)) },
	})
}

// TestScript runs testdata/script. Beside the usual commands the scripts have
//
//	data FILE SEED SIZE        random bytes, the same for the same seed
//	edit FILE OFFSET TEXT      overwrites a part of a file
//	perm FILE 0600             demands permissions
//	code N COMMAND…            demands an exit code; the output is kept as by exec
//	serve DIR VARIABLE         serves a folder on 127.0.0.1, its address in VARIABLE;
//	                           files without an ending below DIR/stall come half
//	                           at first, then nothing more until asked again
//	stalled                    waits until the server holds a body back
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"data": data, "edit": edit, "perm": perm, "code": code, "serve": serve, "stalled": stalled,
		},
		Setup: func(e *testscript.Env) error {
			e.Values[stallKey{}] = make(chan struct{}, 1)
			return nil
		},
	})
}

func data(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 3, "data FILE SEED SIZE")
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(number(ts, args[1])))
	bytes := make([]byte, number(ts, args[2]))
	_, err := rand.NewChaCha8(seed).Read(bytes)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes, 0o644))
}

func edit(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 3, "edit FILE OFFSET TEXT")
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt([]byte(args[2]), number(ts, args[1]))
	ts.Check(err)
	ts.Check(f.Close())
}

func perm(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "perm FILE OCTAL")
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has the permissions %s, want %s", args[0], got, args[1])
	}
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) >= 2, "code N COMMAND…")
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if n := number(ts, args[0]); int64(got) != n {
		ts.Fatalf("exit code %d, want %d", got, n)
	}
}

type stallKey struct{}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "serve DIR VARIABLE")
	dir := ts.MkAbs(args[0])
	held := ts.Value(stallKey{}).(chan struct{})
	files := http.FileServer(http.Dir(dir))
	var once sync.Map // paths that were held back
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		again := true
		if strings.HasPrefix(r.URL.Path, "/stall/") && filepath.Ext(r.URL.Path) == "" {
			_, again = once.LoadOrStore(r.URL.Path, true)
		}
		if again {
			files.ServeHTTP(w, r)
			return
		}
		body, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(r.URL.Path)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		select {
		case held <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	}))
	ts.Defer(s.Close)
	ts.Setenv(args[1], s.URL)
}

func stalled(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 0, "stalled")
	<-ts.Value(stallKey{}).(chan struct{})
}

func want(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func number(ts *testscript.TestScript, text string) int64 {
	n, err := strconv.ParseInt(text, 0, 64)
	ts.Check(err)
	return n
}

// TestEveryCommandIsDescribed holds the help to its promise: each command has a
// sentence, an example of itself and described flags.
func TestEveryCommandIsDescribed(t *testing.T) {
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	n := 0
	for _, c := range commandsBelow(p.root()) {
		n++
		if c.Short == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: short %q, example %q; want both, the example with the command", c.CommandPath(), c.Short, c.Example)
		}
	}
	if n < 19 {
		t.Errorf("found %d commands, want at least 19: the walk is broken", n)
	}
}

func commandsBelow(c *cobra.Command) []*cobra.Command {
	all := c.Commands()
	for _, sub := range c.Commands() {
		all = append(all, commandsBelow(sub)...)
	}
	return all
}
