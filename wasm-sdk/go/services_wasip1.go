//go:build wasip1

package updraft

import "unsafe"

//go:wasmimport updraft_v1 fuel_left
func hostFuelLeft() int64

//go:wasmimport updraft_v1 art_entry
func hostArtEntry(h int32, path string) int32

//go:wasmimport updraft_v1 art_close
func hostArtClose(h int32) int32

//go:wasmimport updraft_v1 svc_unpack
func hostSvcUnpack(src, dst int32) int64

//go:wasmimport updraft_v1 svc_hash
func hostSvcHash(h int32, off, n int64, alg int32, p unsafe.Pointer, capacity uint32) int32

//go:wasmimport updraft_v1 svc_patch
func hostSvcPatch(kind, old, patch, dst int32) int64

//go:wasmimport updraft_v1 svc_inflate
func hostSvcInflate(kind, src, dst int32) int64

//go:wasmimport updraft_v1 svc_verify
func hostSvcVerify(h int32, signature, key string) int32

//go:wasmimport updraft_v1 http_do
func hostHTTPDo(p unsafe.Pointer, n uint32, body unsafe.Pointer, bodyLen uint32) int32

//go:wasmimport updraft_v1 http_answer
func hostHTTPAnswer(h int32, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 http_read
func hostHTTPRead(h int32, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 http_close
func hostHTTPClose(h int32) int32

//go:wasmimport updraft_v1 serial_xfer
func hostSerialXfer(port string, send unsafe.Pointer, sendLen uint32, p unsafe.Pointer, n uint32, ms int32) int32

//go:wasmimport updraft_v1 exec
func hostExec(name string, p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 exec_output
func hostExecOutput(p unsafe.Pointer, n uint32) int32

//go:wasmimport updraft_v1 reboot_request
func hostReboot(reason string) int32

func (host) fuelLeft() int64                       { return hostFuelLeft() }
func (host) artEntry(h int32, path string) int32   { return hostArtEntry(h, path) }
func (host) artClose(h int32) int32                { return hostArtClose(h) }
func (host) svcUnpack(src, dst int32) int64        { return hostSvcUnpack(src, dst) }
func (host) svcInflate(kind, src, dst int32) int64 { return hostSvcInflate(kind, src, dst) }
func (host) svcPatch(kind, old, patch, dst int32) int64 {
	return hostSvcPatch(kind, old, patch, dst)
}
func (host) svcHash(h int32, off, n int64, alg int32, p []byte) int32 {
	a, capacity := at(p)
	return hostSvcHash(h, off, n, alg, a, capacity)
}
func (host) svcVerify(h int32, signature, key string) int32 {
	return hostSvcVerify(h, signature, key)
}
func (host) httpDo(request, body []byte) int32 {
	a, n := at(request)
	b, m := at(body)
	return hostHTTPDo(a, n, b, m)
}
func (host) httpAnswer(h int32, p []byte) int32 { a, n := at(p); return hostHTTPAnswer(h, a, n) }
func (host) httpRead(h int32, p []byte) int32   { a, n := at(p); return hostHTTPRead(h, a, n) }
func (host) httpClose(h int32) int32            { return hostHTTPClose(h) }
func (host) serialXfer(port string, send, receive []byte, ms int32) int32 {
	a, n := at(send)
	b, m := at(receive)
	return hostSerialXfer(port, a, n, b, m, ms)
}
func (host) exec(name string, p []byte) int32 { a, n := at(p); return hostExec(name, a, n) }
func (host) execOutput(p []byte) int32        { a, n := at(p); return hostExecOutput(a, n) }
func (host) reboot(reason string) int32       { return hostReboot(reason) }
