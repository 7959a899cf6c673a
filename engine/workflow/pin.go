package workflow

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/internal/document"
)

// pinMark stands between the name of a file and the digest that it must have,
// as in model-check.wasm@sha256:… .
const pinMark = "@sha256:"

// file reads a file that the document names, and holds it to its pin.
func (r *reader) file(d *document.Decoding, n *document.Node) {
	name, pin, pinned := strings.Cut(n.Text, pinMark)
	want, err := hex.DecodeString(pin)
	if pinned && (err != nil || len(want) != sha256.Size || name == "") {
		d.Report(n, document.BadValue, "expected FILE"+pinMark+" and 64 hex digits")
		return
	}
	if _, have := r.graph.Files[n.Text]; have || r.env.File == nil {
		return
	}
	data, err := r.env.File(name)
	if err != nil {
		d.Report(n, document.UnreadableFile, err.Error())
		return
	}
	if sum := sha256.Sum256(data); pinned && !bytes.Equal(sum[:], want) {
		d.Report(n, document.BadValue, fmt.Sprintf("file %s has the digest sha256:%x, which is not the pinned one", name, sum))
		return
	}
	r.graph.Files[n.Text] = data
}
