package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// edges are numbers that a hostile module would try: ends of the memory and of
// what its numbers can hold, handles that were given and their neighbours,
// modes, and lengths of what the module has.
var edges = []int64{
	0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 44, 48, 64, 80, 96, 112, 128, 144, 160, 192, 208, 255, 256, 272, 384, 512, 1000, 4096, 24 << 10, 65_535, 65_536, 65_537, 1 << 20, 1 << 30,
	1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 40, 1<<62 - 1, 1<<63 - 1, -1, -2, -8, -65_536, -1 << 31, -1 << 63,
	firstArtifact, firstArtifact + 1, firstArtifact + 1<<7, firstTarget, firstTarget + 1, firstTarget + 2, firstTarget + 1<<7,
	firstResponse, firstResponse + 1, 420,
}

const firstResponse = 1<<7 | kindResponse<<5

// words lie at the beginning of the module's memory, each in 16 bytes, so that
// calls find names there that lead on.
var words = []string{
	"image", "out", "config", "tree", "../up", "d/b", "model", "mode", "mcu", "flash", "how=slow", "sha256", "key", "zstd", "gzip", "udelta",
	`{"resultCode":1}`, `["out"]`, "a\x00b", "\xff\xfe", "/etc/passwd", "bsdiff", "raw", "",
}

// callOf is one call of an import: a byte for the function, then two for each
// argument, an edge and a distance from it.
type callOf struct {
	function int
	args     []int64
}

// imported are all functions that a module can import, with their types.
func imported() [][3]string {
	var list [][3]string
	for _, f := range abi.Functions() {
		list = append(list, [3]string{abi.Module, f.Name, f.Wasm()})
	}
	wasi := wasiFunctions()
	for _, name := range slices.Sorted(maps.Keys(wasi)) {
		list = append(list, [3]string{abi.WASI, name, wasi[name].typ})
	}
	return list
}

// readCalls reads at most 40 calls.
func readCalls(src []byte, functions [][3]string) []callOf {
	var list []callOf
	for len(src) > 0 && len(list) < 40 {
		c := callOf{function: int(src[0]) % len(functions)}
		src = src[1:]
		params, _, _ := strings.Cut(functions[c.function][2], ":")
		for range params {
			n := int64(0)
			if len(src) >= 2 {
				n = edges[int(src[0])%len(edges)] + int64(int8(src[1]))>>4
				src = src[2:]
			}
			c.args = append(c.args, n)
		}
		list = append(list, c)
	}
	return list
}

// writeCall is what readCalls reads as a call with the nearest edges.
func writeCall(t testing.TB, functions [][3]string, name string, args ...int64) []byte {
	at := slices.IndexFunc(functions, func(f [3]string) bool { return f[1] == name })
	if at < 0 || strings.Index(functions[at][2], ":") != len(args) {
		t.Fatalf("no function %s of %d numbers", name, len(args))
	}
	b := []byte{byte(at)}
	for _, n := range args {
		edge, far := 0, int64(0)
		for i, e := range edges {
			if d := n - e; d >= -8 && d <= 7 {
				edge, far = i, d
			}
		}
		if edges[edge]+far != n {
			t.Fatalf("%d is near no edge", n)
		}
		b = append(b, byte(edge), byte(far<<4))
	}
	return b
}

// caller is a module that makes the calls one after the other, with pages of
// memory that begin with the words and go on with data.
func caller(functions [][3]string, list []callOf, data []byte) asm {
	a := asm{imports: functions, table: 1}
	memory := make([]byte, 16*len(words))
	for i, w := range words {
		copy(memory[16*i:16*i+16], w)
	}
	a.data = string(append(memory, data...))
	for _, c := range list {
		params, result, _ := strings.Cut(functions[c.function][2], ":")
		for i, n := range c.args {
			if params[i] == 'I' {
				a.body = append(append(a.body, 0x42), sleb(n)...)
			} else {
				a.body = append(append(a.body, 0x41), sleb(int64(int32(n)))...)
			}
		}
		a.body = append(append(a.body, 0x10), leb(c.function)...)
		if result != "" {
			a.body = append(a.body, 0x1a)
		}
	}
	a.body = append(a.body, 0x41, 0)
	return a
}

// answers is a transport that answers every request at once.
type answers struct{}

func (answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"X-A": {"b"}}, Request: r,
		Body: io.NopCloser(strings.NewReader("a body that is read in pieces")), ContentLength: -1,
	}, nil
}

// everything grants all there is, on a device in memory.
func everything(data []byte) *bench {
	b := newBench(data, device.Slots)
	b.grants.Sources["tree"] = &stored{newSource(data), bytes.NewReader(data)}
	b.grants.Targets["out"] = Target{Ref: "rootfs@b", Type: device.Slots, Mode: Write, Quota: 1 << 16}
	b.grants.Targets["tree"] = Target{Ref: "tree", Type: device.Directory, Mode: Write, Quota: 1 << 16}
	b.grants.Targets["config"] = Target{Ref: "config", Type: device.File, Mode: Read}
	b.door.live["config"] = []byte("what is there")
	b.grants.Facts["key"] = "value"
	b.grants.Settings = []byte(`{"mode":"fast","models":["gw-200"]}`)
	d := parts(b)
	b.grants.Allowed = append(b.grants.Allowed, abi.HTTP+":example.com")
	b.grants.HTTP = answers{}
	b.grants.Door = d
	b.grants.Random = bytes.NewReader(make([]byte, 1<<20))
	return b
}

// FuzzHostCalls has a module call functions of the host with any pointers,
// handles, lengths and order, in any phase. It ends in a result or in an error
// of the host's own, within its limits, and what it wrote keeps to its quota.
func FuzzHostCalls(f *testing.F) {
	functions := imported()
	call := func(name string, args ...int64) []byte { return writeCall(f, functions, name, args...) }
	install := byte(abi.Install)
	open := slices.Concat(call("art_open", 0, 5), call("tgt_open", 16, 3, 2))
	tree := slices.Concat(call("art_open", 48, 4), call("tgt_open", 48, 4, 2))
	const second = firstTarget + 1 // of the two that are open
	for _, calls := range [][]byte{
		slices.Concat(open, call("svc_copy", firstArtifact, 0, second, 0, -1), call("tgt_sync", second), call("mark", 0, 5), call("last_mark", 512, 64)),
		slices.Concat(open, call("art_read", firstArtifact, 0, 65_535, 1), call("tgt_write", second, 0, 65_535, 2), call("art_digest", firstArtifact, 1, 512, 64)),
		slices.Concat(open, call("tgt_truncate", second, 1<<62-1), call("tgt_write", second, 1<<63-1, 0, 8), call("tgt_abort", second)),
		slices.Concat(open, call("svc_hash", firstArtifact, 0, -1, 1, 512, 64), call("svc_inflate", 0, firstArtifact, second)),
		slices.Concat(open, call("svc_patch", 0, firstArtifact, firstArtifact, second), call("svc_verify", firstArtifact, 384, 100, 384, 64)),
		slices.Concat(tree, call("svc_unpack", firstArtifact, second), call("tgt_entry", second, 80, 3, 420), call("tgt_write", second+1, 0, 0, 64)),
		slices.Concat(tree, call("tgt_entry", second, 64, 5, 420), call("art_entry", firstArtifact, 80, 3)),
		slices.Concat(call("kv_put", 0, 5, 0, 255), call("kv_get", 0, 5, 512, 4), call("kv_list", 512, -1), call("kv_del", 0, 5), call("kv_flush")),
		slices.Concat(call("fd_write", 1, 65_535, 1<<30, 0), call("random_get", 65_535, 2), call("poll_oneoff", 0, 512, 1<<30, 0)),
		slices.Concat(call("http_do", 384, 44, 0, 0), call("http_answer", firstResponse, 512, 255), call("http_read", firstResponse, 65_535, 1), call("http_close", firstResponse)),
		slices.Concat(call("serial_xfer", 128, 3, 0, 5, 65_535, 2, 1<<31-1), call("exec", 144, 5, 512, 0), call("exec_output", 512, -1)),
	} {
		f.Add(install, []byte(`{"method":"GET","url":"https://example.com/"}`), calls)
	}
	f.Add(byte(abi.Compat), []byte{}, slices.Concat(call("prop_get", 96, 5, -1, -1), call("config_get", 112, 4, 65_536, 0), call("log", 1, -1, -1)))
	f.Add(byte(abi.Commit), []byte{}, slices.Concat(call("tgt_open", 16, 3, 2), call("tgt_commit", firstTarget), call("reboot_request", 0, 5)))
	for i := range functions { // each once, with nothing that is right
		f.Add(install, []byte("x"), append([]byte{byte(i)}, bytes.Repeat([]byte{30, 0}, 12)...))
	}
	host, err := New(context.Background(), Config{Engine: Interpreter})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, phase byte, data, src []byte) {
		if len(data) > 4096 || len(src) > 2048 {
			return
		}
		list := readCalls(src, functions)
		wasm := caller(functions, list, data).bytes(t)
		m, err := host.Load(t.Context(), wasm, Limits{Memory: 1 * mib, Fuel: 5_000_000})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close(context.Background())
		b := everything(data)
		begun := time.Now()
		r, err := m.Call(t.Context(), abi.Compat+(abi.Phase(phase)+abi.Enumerate-abi.Compat)%abi.Enumerate, b.grants)
		own := new(Error)
		if err != nil && !errors.As(err, &own) {
			t.Errorf("error %T %v, want *Error", err, err)
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("%d calls took %v", len(list), took)
		}
		if r.Usage.Memory > 1*mib {
			t.Errorf("%d bytes of memory", r.Usage.Memory)
		}
		contained(t, b)
	})
}

// contained checks that what the module left behind is within its grants.
func contained(t *testing.T, b *bench) {
	t.Helper()
	total := map[string]int{}
	for name, c := range b.door.staged {
		ref, entry, below := strings.Cut(strings.TrimSuffix(name, "/"), "/")
		if below && (ref != "tree" || strings.Contains("/"+entry+"/", "/../")) || ref != "tree" && ref != "rootfs@b" {
			t.Errorf("%q was written", name)
		}
		total[ref] += len(c.now)
	}
	for ref, n := range total {
		if n > 1<<16 {
			t.Errorf("%d bytes were written to %s", n, ref)
		}
	}
	if string(b.door.live["config"]) != "what is there" {
		t.Error("a target that is granted for reading was written")
	}
	if n := len(strings.Join(b.log, "")); n > 2*abi.MaxLog {
		t.Errorf("%d bytes of log", n)
	}
	if c := b.journal.most; c > checkpointSize {
		t.Errorf("a checkpoint of %d bytes", c)
	}
}

// Calls are read back as they were written.
func TestWriteCall(t *testing.T) {
	functions := imported()
	if len(functions) > 256 {
		t.Fatalf("%d functions do not fit into a byte", len(functions))
	}
	src := writeCall(t, functions, "svc_copy", firstArtifact, 1<<40, firstTarget+1, 3, -1)
	got := fmt.Sprint(readCalls(src, functions))
	at := slices.IndexFunc(functions, func(f [3]string) bool { return f[1] == "svc_copy" })
	if want := fmt.Sprintf("[{%d [%d %d %d 3 -1]}]", at, firstArtifact, int64(1)<<40, firstTarget+1); got != want {
		t.Errorf("calls = %s, want %s", got, want)
	}
}
