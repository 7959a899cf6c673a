// Package meter checks a WebAssembly module before anything compiles it, and
// rewrites it so that running it is counted.
//
// [Rewrite] is the only call. It reads the whole module, refuses what the
// contract does not enable or a [Budget] does not allow, and gives a
// [Program]: the rewritten module, and an [Info] of what is in it. It runs
// none of the module's code, takes time and memory in proportion to the
// module's size, and gives for any input either a Program or an [*Error]. It
// does not check the types of the code: a compiler must, and judges the
// rewritten module as it would have judged the original.
//
// # What the host must offer
//
// The rewritten module has one import more, the last one, and two exported
// globals more, all under names that the original may not use:
//
//	import "updraft_meter" "refill" (func)                        [Module], [Refill]
//	export "updraft_meter.fuel"   (global (mut i64)), initially 0 [Fuel]
//	export "updraft_meter.frames" (global (mut i64)), initially 0 [Frames]
//
// Each global is a tank from which the code takes. When a function is
// entered, unless it is short and calls none, and at the header of a loop on
// each turn, the code looks whether a tank is below zero, and if so calls
// refill before it goes on. Refill looks at both tanks and, for each that is
// below zero, either adds to it what brings it to zero or above and remembers
// how much it has given, or ends the instance (a panic with the host's
// error). Nothing else touches the tanks, so that at any moment, in a host
// function and after a return, a trap or an exit:
//
//	used = given - what the tank holds
//
// Between two looks the code cannot run for long, but it may take more than
// there is: when it calls the host or returns, the tank of fuel may be below
// zero. A host that wants a budget kept to the last unit compares used with
// it there as well.
//
// The host may fill a tank beforehand, while no code of the module runs or in
// one of its functions, and may take from it to charge for its own work. How
// it slices its budget changes neither what is used nor where the module
// stops: at the first look with more used than can be given. Refill is the
// place to look at the clock and at cancellation, so a slice of fuel should
// last a millisecond or so. Code that runs without a host that answers so is
// not metered.
//
// # Fuel
//
// Code is charged in regions: at the entry of a function, at the header of a
// loop on each turn, and where a branch joins or splits if more than a few
// instructions follow. A region is charged whole before its first
// instruction, also when a trap or a branch ends it early. An instruction
// costs about one; a call costs some more, which pays for entering the other
// function, and for its body if that is very short. Bulk instructions cost
// one more for each 8 bytes or entry, and memory.grow for each 8 bytes that
// it asks for, by the length of each execution. Fuel depends on the module,
// its input and [Version] alone: it is the same on every machine, compiled
// and interpreted.
//
// # Frames
//
// A function that calls functions of the module takes its weight from the
// tank of frames when it is entered and puts it back when it returns; a trap
// leaves it taken. The weight is 1, and more for a function whose frame a
// compiler may make large ([Function.Weight]), so that a budget of frames
// bounds the bytes of the native stack: at most about 8 KiB for each.
// Functions that call none of the module's are not counted. The tank begins
// at zero so that a host that gives one frame at a time knows the peak: what
// it has given.
//
// # What is kept
//
// The rewritten module has the sections of the original, with the indices of
// its own functions moved by one, and behind them up to three functions that
// charge for bulk instructions. Its memory has a maximum: the declared one,
// and at most [Budget.Memory]. Of the custom sections only a new section of
// names is left: functions that had no name are called by their index in the
// original, as in $12. Usual modules grow by a sixth; at the most one becomes
// eight times as large, and 80 bytes more for each function.
package meter

// Version names the rewriting and its prices. Compiled code and recorded fuel
// of another version are not comparable, so it belongs into the key of a cache.
const Version = 1

// The names between a rewritten module and its host.
const (
	// Module is the import module of [Refill]. The original may not import
	// from it, and none of its exports may begin with it.
	Module = "updraft_meter"
	// Refill is imported as a function without parameters and results.
	Refill = "refill"
	// Fuel is the exported global that holds the fuel left, a mutable i64.
	Fuel = "updraft_meter.fuel"
	// Frames is the exported global that holds the frames left, a mutable i64.
	Frames = "updraft_meter.frames"
)

// Budget limits what a module may declare. A zero field is its default, which
// is the constant of package abi that its comment names, or a number.
type Budget struct {
	Memory     int64 // bytes of linear memory that are granted; DefaultMemory
	Module     int64 // bytes of the module; MaxModule
	Types      int64 // MaxFunctions
	Imports    int64 // 1,024
	Functions  int64 // of its own; MaxFunctions
	Table      int64 // entries; MaxTable
	Globals    int64 // MaxGlobals
	Exports    int64 // MaxExports
	Segments   int64 // of data and of elements, each; 100,000, which is as many as Go writes
	Locals     int64 // of one function, with its parameters; MaxLocals
	Targets    int64 // of one br_table; MaxTargets
	Body       int64 // bytes of one function; MaxBody
	Custom     int64 // bytes of all custom sections but the manifest; MaxCustom
	Name       int64 // bytes of the name of an import or export; MaxName
	Complexity int64 // see [Info.Complexity]; 24 Mi, of which one function may take a 64th
}

// Program is a module that [Rewrite] accepted.
type Program struct {
	Wasm []byte // rewritten
	Info Info   // of the original
}

// Code says what kind of refusal an [Error] is.
type Code string

// The codes.
const (
	// Invalid says that the bytes are not a module that the contract and the
	// budget allow.
	Invalid Code = "invalid-module"
	// TooLarge says that the module declares more memory than it is granted.
	TooLarge Code = "memory"
)

// Error is the one error of this package.
type Error struct {
	Offset int64 // of the offending byte in the original module
	Code   Code
	Detail string
}
