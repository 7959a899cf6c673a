package abi

// Function is an import that the contract offers.
type Function struct {
	Name string
	// Needs is the capability that the manifest must declare, "" for core.
	Needs Capability
	// Type holds the parameters and, after a colon, the result:
	// i is i32 (pointer, length, handle, number), I is i64 (offset, size, time).
	Type string
}

// Functions lists every import of version 1.0.
//
// The guest owns all buffers. (p, cap) is a buffer to fill: the answer is the
// length, and a length above cap means that nothing was written and that the
// call wants a larger buffer. (p, n) is a text or bytes to read. Lists are
// names that each end in a zero byte. A negative answer is an [Errno].
func Functions() []Function {
	return []Function{
		{"log", "", "iii:"},           // level, p, n
		{"progress", "", "IIii:"},     // done, total, p, n
		{"result_set", "", "ii:i"},    // JSON: see Result
		{"cancelled", "", ":i"},       // 1 once the run is being cancelled
		{"fuel_left", "", ":I"},       // -1: not metered
		{"phase_info", "", "ii:i"},    // JSON: see Info
		{"prop_get", Facts, "iiii:i"}, // name, p, cap
		{"prop_list", Facts, "ii:i"},
		{"config_get", Facts, "iiii:i"},    // name ("" for all), p, cap: JSON
		{"art_open", Artifact, "ii:i"},     // role: handle
		{"art_size", Artifact, "i:I"},      // handle
		{"art_read", Artifact, "iIii:i"},   // handle, offset, p, n: count, 0 at the end
		{"art_digest", Artifact, "iiii:i"}, // handle, algorithm, p, cap
		{"tgt_open", Target, "iii:i"},      // role, mode: handle
		{"tgt_entry", Target, "iiii:i"},    // handle, path, permissions: handle
		{"tgt_write", Target, "iIii:i"},    // handle, offset, p, n: n
		{"tgt_read", Target, "iIii:i"},     // handle, offset, p, n: count, 0 at the end
		{"tgt_truncate", Target, "iI:i"},   // handle, size
		{"tgt_sync", Target, "i:i"},        // handle
		{"tgt_size", Target, "i:I"},        // handle
		{"tgt_commit", Target, "i:i"},      // handle
		{"tgt_abort", Target, "i:i"},       // handle
		{"tgt_close", Target, "i:i"},       // handle: syncs and frees it, what was staged stays
		{"svc_copy", Services, "iIiII:I"},  // artifact, offset, target, offset, count (-1: to the end): count
		{"kv_get", State, "iiii:i"},        // key, p, cap
		{"kv_put", State, "iiii:i"},        // key, p, n
		{"kv_del", State, "ii:i"},          // key
		{"kv_list", State, "ii:i"},
		{"kv_flush", State, ":i"},
		{"mark", Resume, "ii:i"},
		{"last_mark", Resume, "ii:i"},
		{"now_ms", Time, ":I"},  // since 1970
		{"mono_ms", Time, ":I"}, // since an arbitrary moment
		{"sleep_ms", Time, "I:i"},
		{"random", Time, "ii:i"},
	}
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
}
