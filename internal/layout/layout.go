// Package layout draws the project's rooms and the arrows between them.
//
// [Rooms] is the drawing: each room with the rooms that it may import. The
// test holds every package to it, so that the arrow is drawn here first and
// imported second. Arrows go down only.
package layout

// Module is the path of the Go module.
const Module = "github.com/updraft-ota/updraft"

// Rooms are the packages of the project below [Module], with the packages of
// ours that each may import. A room that ends in "/..." speaks for all below it.
// Tests may import more.
var Rooms = map[string][]string{
	"engine":                            {"device", "internal/disk"},
	"engine/workflow":                   {"engine", "internal/document"},
	"engine/workflow/reference":         {"engine", "engine/workflow", "internal/document"},
	"engine/journal":                    {"engine", "internal/disk"},
	"engine/crashtest":                  {"engine", "device", "internal/disk"},
	"engine/storetest":                  {"engine", "internal/disk"},
	"device":                            {"internal/disk", "internal/document"},
	"stages":                            {"engine", "device", "delta", "delta/codec", "wasmhost", "wasm-sdk/abi", "internal/disk", "internal/trust"},
	"delta":                             {"delta/internal/coder", "delta/internal/foreign", "delta/internal/image", "delta/internal/inplace", "delta/internal/match", "delta/internal/reference", "internal/disk"},
	"delta/codec":                       {},
	"delta/internal/coder":              {},
	"delta/internal/foreign":            {},
	"delta/internal/image":              {},
	"delta/internal/inplace":            {"delta/internal/match", "internal/disk"},
	"delta/internal/match":              {},
	"delta/internal/reference":          {"delta/internal/coder"},
	"wasmhost":                          {"wasmhost/meter", "device", "delta", "delta/codec", "internal/disk", "internal/trust", "wasm-sdk/abi"},
	"wasmhost/meter":                    {"wasm-sdk/abi"},
	"wasm-sdk/abi":                      {},
	"wasm-sdk/rust":                     {},
	"wasm-sdk/zig":                      {},
	"wasm-sdk":                          {},
	"wasm-sdk/toolchain":                {"wasm-sdk", "wasm-sdk/abi"},
	"wasm-sdk/conformance/internal/asm": {},
	"wasm-sdk/conformance":              {"wasm-sdk/conformance/internal/asm", "wasmhost", "device", "internal/disk", "internal/document", "internal/trust", "wasm-sdk/abi"},
	"wasm-sdk/go/...":                   {"wasm-sdk/abi", "wasm-sdk/go"},
	"control":                           {"engine"},
	"control/controltest":               {"control", "engine"},
	"control/awsiot":                    {"control", "engine", "internal/trust"},
	"control/adu":                       {"control", "control/adu/manifest", "engine"},
	"control/adu/manifest":              {},
	"control/aliyun":                    {"control", "engine", "internal/trust"},
	"control/aliyunota":                 {"control", "control/aliyun", "engine", "internal/trust"},
	"control/awsjobs":                   {"control", "engine", "internal/trust"},
	"control/azurehub":                  {"control", "engine", "internal/trust"},
	"control/haas":                      {"control", "control/aliyun", "engine", "internal/trust"},
	"control/hawkbit":                   {"control", "engine", "internal/trust"},
	"control/poll":                      {"control", "control/mqtt", "engine"},
	"control/tencent":                   {"control", "engine", "internal/trust"},
	"control/mqtt":                      {"control", "engine"},
	"control/cloudsim":                  {},
	"control/cloudsim/aws":              {"control/cloudsim", "control/awsiot", "control/awsjobs"},
	"control/cloudsim/aliyun":           {"control/cloudsim", "control/aliyun", "control/aliyunota", "control/haas"},
	"control/cloudsim/hawkbit":          {"control/cloudsim", "control/hawkbit"},
	"control/cloudsim/hub":              {"control/cloudsim", "control/adu", "control/adu/manifest", "control/azurehub"},
	"control/cloudsim/tencent":          {"control/cloudsim", "control/tencent"},
	"agent":                             {"engine", "engine/workflow", "engine/journal", "engine/crashtest", "device", "stages", "delta", "wasmhost", "wasm-sdk/abi", "internal/disk", "internal/document", "internal/trust", "control", "control/adu", "control/aliyun", "control/aliyunota", "control/awsiot", "control/awsjobs", "control/azurehub", "control/haas", "control/hawkbit", "control/poll", "control/mqtt", "control/tencent"},
	"internal/document":                 {},
	"internal/disk":                     {},
	"internal/trust":                    {"internal/disk"},
	"internal/layout":                   {},
	"internal/sample":                   {},
	"cmd/updraft":                       {Anything},
	"cmd/updraft-agent":                 {"agent", "engine", "device", "internal/document"},
	"examples/...":                      {"wasm-sdk/abi", "wasm-sdk/go", "agent", "engine", "device"},
	"bench/...":                         {Anything},
}

// Anything stands for every room.
const Anything = "*"

// Heavy are the libraries that one room hides from all others, tests and
// commands included.
var Heavy = map[string][]string{
	"github.com/tetratelabs/wazero":  {"wasmhost", "wasmhost/meter", "bench/wasm"},
	"github.com/dgraph-io/badger/v4": {"engine/journal"},
	"github.com/klauspost/compress":  {"delta", "delta/codec"},
	"github.com/gabstv/go-bsdiff":    {"bench/delta", "cmd/updraft"},
	"github.com/ulikunitz/xz":        {"delta/codec", "delta/internal/foreign"},
	"github.com/pierrec/lz4/v4":      {"delta/codec"},
	"github.com/expr-lang/expr":      {"engine/workflow"},
	"go.yaml.in/yaml/v4":             {"internal/document"},

	"github.com/eclipse/paho.mqtt.golang": {"control/mqtt"},
	"github.com/mochi-mqtt/server/v2":     {"control/cloudsim"},
	"github.com/spf13/cobra":              {"cmd/updraft"},
	"oras.land/oras-go/v2":                {"cmd/updraft"},
	"github.com/schollz/progressbar/v3":   {"cmd/updraft"},
	"github.com/coreos/go-systemd/v22":    {"cmd/updraft-agent"},
}
