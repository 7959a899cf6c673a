package abi

import "strings"

// Function is an import that the contract offers.
type Function struct {
	Name string
	// Needs is the capability that the manifest must declare, "" for core.
	// [HTTP], [Serial] and [Exec] stand for any capability of that kind.
	Needs Capability
	// Type holds the parameters and, after a colon, the result. i is an i32
	// (number or handle) and I an i64 (offset, size, time). r is a pointer and
	// a length, two i32, of bytes that the host reads; w is a pointer and a
	// capacity, two i32, of a buffer that the host fills.
	Type string
}

// Wasm gives the type as WebAssembly has it: i and I alone.
func (f Function) Wasm() string {
	return strings.NewReplacer("r", "ii", "w", "ii").Replace(f.Type)
}

// Functions lists every import of version 1.0.
//
// The guest owns all buffers. Where the host fills one (w), the answer is the
// length of what there is, and a length above the capacity means that nothing
// was written and that the call wants a larger buffer. The exceptions are
// art_read, tgt_read, http_read, serial_xfer and random: their answer is the
// number of bytes written, 0 at the end. Lists are names that each end in a
// zero byte. A negative answer is an [Errno].
func Functions() []Function {
	return []Function{
		{"log", "", "ir:"},          // level, text
		{"progress", "", "IIr:"},    // done, total, text
		{"result_set", "", "r:i"},   // JSON: see Result
		{"cancelled", "", ":i"},     // 1 once the run is being cancelled
		{"fuel_left", "", ":I"},     // of this phase
		{"phase_info", "", "w:i"},   // JSON: see Info
		{"prop_get", Facts, "rw:i"}, // name
		{"prop_list", Facts, "w:i"},
		{"config_get", Facts, "rw:i"},      // name ("" for all): JSON
		{"art_open", Artifact, "r:i"},      // role: handle
		{"art_entry", Artifact, "ir:i"},    // handle of an archive, path: handle
		{"art_size", Artifact, "i:I"},      // handle
		{"art_read", Artifact, "iIw:i"},    // handle, offset: count
		{"art_digest", Artifact, "iiw:i"},  // handle, algorithm: hex
		{"art_close", Artifact, "i:i"},     // handle: frees it
		{"tgt_open", Target, "ri:i"},       // role, mode: handle
		{"tgt_entry", Target, "iri:i"},     // handle, path, permissions: handle
		{"tgt_write", Target, "iIr:i"},     // handle, offset: count
		{"tgt_read", Target, "iIw:i"},      // handle, offset: count
		{"tgt_truncate", Target, "iI:i"},   // handle, size
		{"tgt_sync", Target, "i:i"},        // handle
		{"tgt_size", Target, "i:I"},        // handle
		{"tgt_commit", Target, "i:i"},      // handle
		{"tgt_abort", Target, "i:i"},       // handle
		{"tgt_close", Target, "i:i"},       // handle: syncs and frees it, what was staged stays
		{"svc_copy", Services, "iIiII:I"},  // artifact, offset, target, offset, count (-1: to the end): count
		{"svc_unpack", Services, "ii:I"},   // artifact, directory target: count of files
		{"svc_hash", Services, "iIIiw:i"},  // artifact or target, offset, count (-1: to the end), algorithm: hex
		{"svc_patch", Services, "iiii:I"},  // kind (0: recognise), old (target to read or artifact), patch (artifact), target: count
		{"svc_inflate", Services, "iii:I"}, // kind (0: recognise), artifact, target: count
		{"svc_verify", Services, "irr:i"},  // artifact or target, minisign signature, minisign public key: 0, or EBADDATA
		{"kv_get", State, "rw:i"},          // key
		{"kv_put", State, "rr:i"},          // key, value
		{"kv_del", State, "r:i"},           // key
		{"kv_list", State, "w:i"},
		{"kv_flush", State, ":i"},
		{"mark", Resume, "r:i"},
		{"last_mark", Resume, "w:i"},
		{"now_ms", Time, ":I"},  // since 1970
		{"mono_ms", Time, ":I"}, // since an arbitrary moment
		{"sleep_ms", Time, "I:i"},
		{"random", Time, "w:i"},
		{"http_do", HTTP, "rr:i"},         // JSON: see Request; body: handle of the response
		{"http_answer", HTTP, "iw:i"},     // handle: JSON, see Response
		{"http_read", HTTP, "iw:i"},       // handle: count of the next bytes of the body
		{"http_close", HTTP, "i:i"},       // handle
		{"serial_xfer", Serial, "rrwi:i"}, // port, bytes to send, buffer to fill, milliseconds to wait for it: count
		{"exec", Exec, "rr:i"},            // name, JSON object of its parameters: exit status
		{"exec_output", Exec, "w:i"},      // of the last exec: both streams, the last 64 KiB
		{"reboot_request", Reboot, "r:i"}, // reason
	}
}

// Request is the text that http_do takes.
type Request struct {
	Method  string            `json:"method,omitempty"` // GET if empty
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	// Timeout is in milliseconds, 0 for 30 seconds.
	Timeout int64 `json:"timeoutMs,omitempty"`
}

// Response is the text that http_answer gives. Names of headers are in lower
// case; of several values of one header, the first.
type Response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	// Size is the length of the body, -1 if it is not known.
	Size int64 `json:"size"`
}

// Result is the text that result_set takes and a report carries.
type Result struct {
	Code     int    `json:"resultCode,omitempty"`
	Extended int    `json:"extendedResultCode,omitempty"`
	Details  string `json:"details,omitempty"`
	// Reboot is "none", "required" or "immediate".
	Reboot       string `json:"reboot,omitempty"`
	RestartAgent bool   `json:"restartAgent,omitempty"`
	Retryable    bool   `json:"retryable,omitempty"`
	Installed    string `json:"installedCriteria,omitempty"`
}

// Info is the text that phase_info gives.
type Info struct {
	Phase     string   `json:"phase"`
	Run       string   `json:"run"`
	ABI       string   `json:"abi"`
	Module    string   `json:"module"` // hex SHA-256 of the module
	Artifacts []string `json:"artifacts,omitempty"`
	Targets   []string `json:"targets,omitempty"`
	// Grants are the granted capabilities that carry a name, and reboot.
	Grants []Capability `json:"grants,omitempty"`
}
