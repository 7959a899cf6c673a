//go:build wasip1

package updraft

import (
	"unsafe"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// The imports. The linker keeps those that a module reaches, so that a module
// imports exactly what it uses.

//go:wasmimport updraft_v1 log
func hostLog(level int32, text string)

//go:wasmimport updraft_v1 progress
func hostProgress(done, total int64, text string)

//go:wasmimport updraft_v1 result_set
func hostResultSet(p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 cancelled
func hostCancelled() int32

//go:wasmimport updraft_v1 phase_info
func hostPhaseInfo(p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 prop_get
func hostPropGet(name string, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 prop_list
func hostPropList(p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 config_get
func hostConfigGet(name string, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 art_open
func hostArtOpen(role string) int32

//go:wasmimport updraft_v1 art_size
func hostArtSize(h int32) int64

//go:wasmimport updraft_v1 art_read
func hostArtRead(h int32, off int64, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 art_digest
func hostArtDigest(h, alg int32, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 tgt_open
func hostTgtOpen(role string, mode int32) int32

//go:wasmimport updraft_v1 tgt_entry
func hostTgtEntry(h int32, path string, perm int32) int32

//go:wasmimport updraft_v1 tgt_write
func hostTgtWrite(h int32, off int64, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 tgt_read
func hostTgtRead(h int32, off int64, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 tgt_truncate
func hostTgtTruncate(h int32, size int64) int32

//go:wasmimport updraft_v1 tgt_sync
func hostTgtSync(h int32) int32

//go:wasmimport updraft_v1 tgt_size
func hostTgtSize(h int32) int64

//go:wasmimport updraft_v1 tgt_commit
func hostTgtCommit(h int32) int32

//go:wasmimport updraft_v1 tgt_abort
func hostTgtAbort(h int32) int32

//go:wasmimport updraft_v1 tgt_close
func hostTgtClose(h int32) int32

//go:wasmimport updraft_v1 svc_copy
func hostSvcCopy(src int32, soff int64, dst int32, doff, n int64) int64

//go:wasmimport updraft_v1 kv_get
func hostKVGet(key string, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 kv_put
func hostKVPut(key string, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 kv_del
func hostKVDel(key string) int32

//go:wasmimport updraft_v1 kv_list
func hostKVList(p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 kv_flush
func hostKVFlush() int32

//go:wasmimport updraft_v1 mark
func hostMark(p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 last_mark
func hostLastMark(p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 now_ms
func hostNow() int64

//go:wasmimport updraft_v1 mono_ms
func hostMono() int64

//go:wasmimport updraft_v1 sleep_ms
func hostSleep(ms int64) int32

//go:wasmimport updraft_v1 random
func hostRandom(p unsafe.Pointer, n uint32) int32

// host is the host that runs this module. Its twin for other platforms, of
// the same shape, calls a [Double].
type host struct{}

func at(p []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(p)), uint32(len(p))
}

func (host) log(level int, text string)              { hostLog(int32(level), text) }
func (host) progress(done, total int64, text string) { hostProgress(done, total, text) }
func (host) resultSet(p []byte) int32                { a, n := at(p); return hostResultSet(a, n) }
func (host) cancelled() bool                         { return hostCancelled() != 0 }
func (host) phaseInfo(p []byte) int32                { a, n := at(p); return hostPhaseInfo(a, n) }
func (host) propGet(name string, p []byte) int32     { a, n := at(p); return hostPropGet(name, a, n) }
func (host) propList(p []byte) int32                 { a, n := at(p); return hostPropList(a, n) }
func (host) configGet(name string, p []byte) int32   { a, n := at(p); return hostConfigGet(name, a, n) }
func (host) artOpen(role string) int32               { return hostArtOpen(role) }
func (host) artSize(h int32) int64                   { return hostArtSize(h) }
func (host) artRead(h int32, off int64, p []byte) int32 {
	a, n := at(p)
	return hostArtRead(h, off, a, n)
}
func (host) artDigest(h int32, p []byte) int32 {
	a, n := at(p)
	return hostArtDigest(h, abi.SHA256, a, n)
}
func (host) tgtOpen(role string, mode int32) int32 { return hostTgtOpen(role, mode) }
func (host) tgtEntry(h int32, path string, perm uint32) int32 {
	return hostTgtEntry(h, path, int32(perm))
}
func (host) tgtWrite(h int32, off int64, p []byte) int32 {
	a, n := at(p)
	return hostTgtWrite(h, off, a, n)
}
func (host) tgtRead(h int32, off int64, p []byte) int32 {
	a, n := at(p)
	return hostTgtRead(h, off, a, n)
}
func (host) tgtTruncate(h int32, size int64) int32 { return hostTgtTruncate(h, size) }
func (host) tgtSync(h int32) int32                 { return hostTgtSync(h) }
func (host) tgtSize(h int32) int64                 { return hostTgtSize(h) }
func (host) tgtCommit(h int32) int32               { return hostTgtCommit(h) }
func (host) tgtAbort(h int32) int32                { return hostTgtAbort(h) }
func (host) tgtClose(h int32) int32                { return hostTgtClose(h) }
func (host) svcCopy(src int32, soff int64, dst int32, doff, n int64) int64 {
	return hostSvcCopy(src, soff, dst, doff, n)
}
func (host) kvGet(key string, p []byte) int32 { a, n := at(p); return hostKVGet(key, a, n) }
func (host) kvPut(key string, p []byte) int32 { a, n := at(p); return hostKVPut(key, a, n) }
func (host) kvDel(key string) int32           { return hostKVDel(key) }
func (host) kvList(p []byte) int32            { a, n := at(p); return hostKVList(a, n) }
func (host) kvFlush() int32                   { return hostKVFlush() }
func (host) mark(p []byte) int32              { a, n := at(p); return hostMark(a, n) }
func (host) lastMark(p []byte) int32          { a, n := at(p); return hostLastMark(a, n) }
func (host) now() int64                       { return hostNow() }
func (host) mono() int64                      { return hostMono() }
func (host) sleep(ms int64) int32             { return hostSleep(ms) }
func (host) random(p []byte) int32            { a, n := at(p); return hostRandom(a, n) }

// served is what the exported function calls: the linker wants a plain
// function, so that there is no receiver to hold it.
var served Phases

func keep(p Phases) { served = p }

//go:wasmexport updraft_abi_1_0
func marker() {}

//go:wasmexport updraft_phase
func phase(p int32) int32 {
	return int32(served.call(&Step{}, abi.Phase(p)))
}
