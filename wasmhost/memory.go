package wasmhost

import (
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero/experimental"
)

// budget is the memory that all instances of a host share. It counts what an
// instance may reach, not what it touched: what is promised must be there.
type budget struct {
	mu   sync.Mutex
	left int64 // bytes
}

// take reserves n bytes, or says how many are left.
func (b *budget) take(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		return fmt.Errorf("an instance of %d bytes: %d are left of the budget that all instances share", n, b.left)
	}
	b.left -= n
	return nil
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}

// arena is the linear memory of one instance: address space for its maximum,
// taken once, so that growing never copies and what is not touched costs
// nothing. It belongs to one call.
type arena struct {
	budget *budget
	space  []byte // all of it; usable up to size
	size   int64
	peak   int64
}

// newArena takes max bytes from the budget and reserves them.
func newArena(b *budget, max int64) (*arena, error) {
	if err := b.take(max); err != nil {
		return nil, err
	}
	space, err := reserve(max)
	if err != nil {
		b.give(max)
		return nil, fmt.Errorf("reserve %d bytes: %w", max, err)
	}
	return &arena{budget: b, space: space}, nil
}

// Allocate lends the arena to the instance that wazero makes.
func (a *arena) Allocate(_, _ uint64) experimental.LinearMemory { return a }

// Reallocate makes size bytes usable, or gives nil: memory.grow answers -1.
func (a *arena) Reallocate(size uint64) []byte {
	if size > uint64(len(a.space)) || unlock(a.space, a.size, int64(size)) != nil {
		return nil
	}
	a.size = int64(size)
	a.peak = max(a.peak, a.size)
	return a.space[:size:size]
}

// Free gives the memory back. It may be called twice.
func (a *arena) Free() {
	if a.space == nil {
		return
	}
	n := int64(len(a.space))
	release(a.space)
	a.space, a.size = nil, 0
	a.budget.give(n)
}
