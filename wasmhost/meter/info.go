package meter

// Info is what a module says without running code. Names are the module's
// own and may hold any UTF-8 text.
type Info struct {
	Size      int64    // of the module, bytes
	Name      string   // of the module, from its section of names
	Types     []string // in the notation of [Import.Type]
	Imports   []Import // functions alone; others are refused
	Exports   []Export
	Functions []Function // of its own, in the order of the module
	Memory    Memory
	Table     int64 // entries
	Globals   int64
	Segments  int64 // of data and elements
	Code      int64 // bytes of all bodies
	Data      int64 // bytes of all data segments
	Custom    []Custom
	// Complexity is the sum over all functions, and what their types take.
	Complexity int64
}

// Import is an imported function.
type Import struct {
	Module, Name string
	// Type holds the parameters and, after a colon, the results: i is an i32, I
	// an i64, f an f32, F an f64, v a v128. For i and I it is the notation of
	// abi.Function.Wasm.
	Type string
}

// Kind is what an export is.
type Kind byte

// The kinds of exports.
const (
	KindFunction Kind = iota
	KindTable
	KindMemory
	KindGlobal
)

// Export is an exported name.
type Export struct {
	Name  string
	Kind  Kind
	Index uint32 // in the original module; imported functions come first
	Type  string // of a function, as in [Import.Type]
}

// Function is a function of the module's own.
type Function struct {
	Name   string // from the section of names, or else of its first export, or ""
	Type   string // as in [Import.Type]
	Offset int64  // of its body in the original module
	Size   int64  // of its body, bytes
	Locals int64  // with parameters
	Calls  bool   // it calls functions of the module, itself included
	Loops  int64
	// Instructions is the number of all of them.
	Instructions int64
	// Entry is the fuel for entering it; Largest is its most expensive region,
	// without what bulk instructions cost by their length.
	Entry, Largest int64
	// Weight is what it takes from the tank of frames, 0 if it calls none.
	Weight int64
	// Complexity estimates what compiling it takes, in units of at most half
	// a microsecond on a desk, 200 bytes while it is compiled, or 3 bytes of
	// native code, whichever is most. Real code takes half of that.
	Complexity int64
}

// Memory is the declared linear memory.
type Memory struct {
	Declared bool
	Min      int64 // bytes
	Max      int64 // bytes as declared, -1 if it is not
	Granted  int64 // bytes, the maximum in the rewritten module
}

// Custom is a custom section.
type Custom struct {
	Name   string
	Offset int64 // of its content in the module
	Size   int64 // of its content, bytes
}
