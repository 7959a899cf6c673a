package wasmhost

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// stack is the guest's part of wazero's message: a line a function, the
// innermost first, under the names and numbers of the module as its vendor
// made it. What a name has beyond maxFrame bytes is left out.
func (m *Module) stack(err error) string {
	if err == nil {
		return ""
	}
	_, trace, _ := strings.Cut(err.Error(), "wasm stack trace:\n")
	var b strings.Builder
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		if line == "" {
			break // what follows is the host's
		}
		if !strings.HasPrefix(line, meter.Module+".") {
			b.WriteString(oneLine(m.frame(line), maxFrame) + "\n")
		}
	}
	return b.String()
}

const maxFrame = 1 << 10

// frame gives a function without a name the one of its export, or its number
// in the original module.
func (m *Module) frame(line string) string {
	digits, signature, ok := strings.Cut(strings.TrimPrefix(line, ".$"), "(")
	index, err := strconv.Atoi(digits)
	own := index - len(m.info.Imports) - 1 // the last import is the meter's
	if !ok || err != nil || own < 0 || own >= len(m.info.Functions) {
		return strings.TrimPrefix(line, ".")
	}
	if name := m.info.Functions[own].Name; name != "" {
		return name + "(" + signature
	}
	return fmt.Sprintf("$%d(%s", index-1, signature)
}
