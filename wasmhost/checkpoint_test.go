package wasmhost

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// A checkpoint with more closed entries than it has room for forgets the
// oldest, keeps what is open, and forgets no more than it must.
func TestCheckpointForgetsTheOldestEntries(t *testing.T) {
	c := &call{targets: map[string]*target{key("tree/000000", abi.ModeWrite): {}}}
	c.point.Files = []FileMark{{Name: "tree"}}
	for i := range 20_000 {
		c.point.Files = append(c.point.Files, FileMark{Name: fmt.Sprintf("tree/%06d", i), Synced: int64(i)})
	}
	if err := c.fit(); err != nil {
		t.Fatal(err)
	}
	files := c.point.Files
	if files[0].Name != "tree" || files[1].Name != "tree/000000" || files[len(files)-1].Name != "tree/019999" {
		t.Errorf("kept %q, %q … %q", files[0].Name, files[1].Name, files[len(files)-1].Name)
	}
	if size := c.point.encoded(); size > checkpointSize || size < checkpointSize-100 {
		t.Errorf("%d bytes with %d files, want just below %d", size, len(files), checkpointSize)
	}
	c.point.Mark = make([]byte, checkpointSize)
	if err := c.fit(); err == nil {
		t.Errorf("a checkpoint of %d bytes fits", c.point.encoded())
	}
}

// What a module says of itself neither floods nor steers who reads the error.
func TestErrorIsOneLineToPrint(t *testing.T) {
	e := &Error{Code: GuestFailed, Detail: "\x1b[2J\r\n" + strings.Repeat("é", 100_000), Usage: Usage{Fuel: 7}}
	text := e.Error()
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(text) > 3<<10 || !strings.HasSuffix(text, "(after 7 fuel)") {
		t.Errorf("an error of %d bytes: %.60q … %q", len(text), text, text[len(text)-20:])
	}
}
