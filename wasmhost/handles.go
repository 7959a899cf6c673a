package wasmhost

import "github.com/updraft-ota/updraft/wasm-sdk/abi"

// handles are the 32 things that an instance may hold open. A handle is
// generation, type and place in one positive number, so that a guessed, stale
// or foreign one traps instead of reaching something else.
type handles struct {
	slots [abi.MaxHandles]slot
}

type slot struct {
	generation int32
	value      any // *artifact, *member, *target, *response, or nil
}

const (
	placeBits      = 5
	kindBits       = 2
	kindArtifact   = 1
	kindTarget     = 2
	kindResponse   = 3
	generationMask = 1<<(31-placeBits-kindBits) - 1
)

func (h *handles) add(kind int32, value any) (int32, bool) {
	for i := range h.slots {
		if s := &h.slots[i]; s.value == nil {
			s.generation = s.generation%generationMask + 1
			s.value = value
			return s.generation<<(placeBits+kindBits) | kind<<placeBits | int32(i), true
		}
	}
	return 0, false
}

// get gives what handle stands for, if it is of kind and of this generation.
func (h *handles) get(handle, kind int32) any {
	s := &h.slots[handle&(abi.MaxHandles-1)]
	if handle < 0 || handle>>placeBits&(1<<kindBits-1) != kind || handle>>(placeBits+kindBits) != s.generation {
		return nil
	}
	return s.value
}

func (h *handles) drop(handle int32) { h.slots[handle&(abi.MaxHandles-1)].value = nil }
