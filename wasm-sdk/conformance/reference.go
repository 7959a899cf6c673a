package conformance

import (
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

// What the reference guest finds.
const (
	referenceImage    = "0123456789"
	referenceOld      = "before"
	referenceSettings = `{"answer":42}`
)

// ReferenceSetup is the device on which [ReferenceGuest] comes to its end: the
// facts model=reference and region= (empty), the setting answer=42, an artifact image of the ten
// digits, a file target old to read that holds "before", a file target out
// that is not there yet, and a directory target tree.
func ReferenceSetup() Setup {
	return Setup{
		Facts:     map[string]string{"model": "reference", "region": ""},
		Settings:  []byte(referenceSettings),
		Artifacts: map[string]*Blob{"image": Bytes([]byte(referenceImage))},
		Targets: map[string]Target{
			"old":  {Type: device.File, Mode: wasmhost.Read, Content: Bytes([]byte(referenceOld))},
			"out":  {Type: device.File},
			"tree": {Type: device.Directory},
		},
	}
}

// ReferenceGuest is a module that tries a host: each phase calls functions of
// the contract, with good and bad arguments, and compares the answers with
// those of the contract. It expects the device of [ReferenceSetup] and the
// phases in the order of an update; all return ok then. The first answer that is
// another one makes the phase fail, and its result says which one that was.
//
// It is a small module that is made anew each time, without a toolchain.
func ReferenceGuest() []byte {
	g := newGuest("reference", abi.KindInstall, abi.Compat, abi.Prepare, abi.Install, abi.Commit, abi.Rollback,
		abi.Health, abi.Cleanup, abi.Enumerate)
	g.manifest.Roles = abi.Roles{Artifacts: []string{"image"}, Targets: []string{"old", "out", "tree"}}
	return g.bytes(1, map[abi.Phase]asm.Code{
		abi.Compat:    g.referenceCompat(),
		abi.Prepare:   g.referencePrepare(),
		abi.Install:   asm.Seq(g.referenceStream(), g.referenceTarget(), g.referenceTree(), g.referenceMarks()),
		abi.Commit:    g.referenceCommit(),
		abi.Rollback:  g.referenceRollback(),
		abi.Health:    g.referenceHealth(),
		abi.Cleanup:   g.referenceCleanup(),
		abi.Enumerate: g.referenceEnumerate(),
	})
}

// Locals of the phase function beside the phase.
const (
	localArtifact = 1
	localTarget   = 2
	localOther    = 3
	localTime     = 5 // the first i64
)

// some keeps the value of code in a local and fails the phase unless it is
// above zero, as handles are.
func (g *guest) some(what string, local uint32, name string, args ...asm.Code) asm.Code {
	return asm.Seq(g.call(name, args...), asm.Tee(local), asm.I32(1), asm.Op(asm.I32LtS),
		asm.If(asm.None, g.fail(fmt.Sprintf("%s: want %s to answer a number above 0", what, name))))
}

// clear makes the first n bytes of the memory zero.
func clear0(n int32) asm.Code { return asm.Seq(asm.I32(0), asm.I32(0), asm.I32(n), asm.MemoryFill()) }

// gives wants a function that fills a buffer to give s.
func (g *guest) gives(what, s, name string, args ...asm.Code) asm.Code {
	return asm.Seq(clear0(128), g.want(what, int64(len(s)), name, append(args, room(128))...), g.holds(what, s))
}

func (g *guest) referenceCompat() asm.Code {
	text := g.text
	return asm.Seq(
		g.gives("a fact", "reference", "prop_get", text("model")),
		clear0(8),
		g.want("a fact into a buffer that is too small", 9, "prop_get", text("model"), room(3)),
		g.holds("a buffer that is too small", "\x00\x00\x00"),
		g.want("a fact into no buffer", 9, "prop_get", text("model"), room(0)),
		g.want("an empty fact", 0, "prop_get", text("region"), room(8)),
		g.want("a fact that is not there", int64(abi.ENOENT), "prop_get", text("missing"), room(8)),
		g.want("a name that is too long", int64(abi.ENOENT), "prop_get", text(strings.Repeat("x", abi.MaxName+1)), room(8)),
		g.gives("the names of the facts", "model\x00region\x00", "prop_list"),
		g.gives("all settings", referenceSettings, "config_get", text("")),
		g.gives("a setting", "42", "config_get", text("answer")),
		g.want("a setting that is not there", int64(abi.ENOENT), "config_get", text("missing"), room(8)),
		g.some("an artifact", localArtifact, "art_open", text("image")),
		g.want("the artifact's size", int64(len(referenceImage)), "art_size", asm.Get(localArtifact)),
		g.gives("the artifact's digest", Bytes([]byte(referenceImage)).SHA256(), "art_digest", asm.Get(localArtifact), asm.I32(abi.SHA256)),
		g.want("a digest of no algorithm", int64(abi.EINVAL), "art_digest", asm.Get(localArtifact), asm.I32(99), room(128)),
		g.want("a role that is not bound", int64(abi.ENOENT), "art_open", text("other")),
		g.want("reading in compat", int64(abi.EDENIED), "art_read", asm.Get(localArtifact), asm.I64(0), room(4)),
		g.want("a target in compat", int64(abi.EDENIED), "tgt_open", text("old"), asm.I32(abi.ModeRead)),
		g.want("state in compat", int64(abi.EDENIED), "kv_get", text("a"), room(4)),
		g.want("the clock in compat", int64(abi.EDENIED), "now_ms"),
		g.want("random bytes in compat", int64(abi.EDENIED), "random", room(4)),
		g.want("the cancel flag", 0, "cancelled"),
		g.some("the phase's description", localOther, "phase_info", room(0)),
		g.call("fuel_left"), asm.Op(asm.Drop),
		g.call("log", asm.I32(abi.LevelInfo), text("compat")),
		g.call("progress", asm.I64(1), asm.I64(2), text("half")),
		g.want("a result that is no JSON", int64(abi.EINVAL), "result_set", text("{")),
		g.want("a result with an unknown reboot", int64(abi.EINVAL), "result_set", text(`{"reboot":"maybe"}`)),
		g.want("a result", 0, "result_set", text(`{"details":"checked"}`)),
	)
}

func (g *guest) referencePrepare() asm.Code {
	text := g.text
	old := asm.Get(localTarget)
	return asm.Seq(
		g.want("a key-value", 0, "kv_put", text("kept"), text("value")),
		g.want("a second key-value", 0, "kv_put", text("gone"), text("")),
		g.gives("a key-value", "value", "kv_get", text("kept")),
		g.want("an empty key-value", 0, "kv_get", text("gone"), room(4)),
		g.gives("the keys", "gone\x00kept\x00", "kv_list"),
		g.want("removing a key", 0, "kv_del", text("gone")),
		g.want("removing a key that is not there", 0, "kv_del", text("gone")),
		g.want("a removed key", int64(abi.ENOENT), "kv_get", text("gone"), room(4)),
		g.want("an empty key", int64(abi.EINVAL), "kv_put", text(""), text("x")),
		g.want("too large a value", int64(abi.EQUOTA), "kv_put", text("big"), asm.I32(0), asm.I32(abi.MaxKV)),
		g.want("making key-values durable", 0, "kv_flush"),
		// An install that was cut may have made the mark already.
		g.call("last_mark", room(8)), asm.Tee(localOther), asm.I32(int32(abi.ENOENT)), asm.Op(asm.I32Ne),
		asm.Get(localOther), asm.I32(2), asm.Op(asm.I32Ne, asm.I32And),
		asm.If(asm.None, g.fail("last_mark: want no such name, or the mark of an install that was cut")),
		g.want("writing in prepare", int64(abi.EDENIED), "tgt_open", text("out"), asm.I32(abi.ModeWrite)),
		g.want("a target to read, for writing", int64(abi.EDENIED), "tgt_open", text("old"), asm.I32(abi.ModeWrite)),
		g.want("a mode that is none", int64(abi.EINVAL), "tgt_open", text("old"), asm.I32(9)),
		g.want("a role that is not bound", int64(abi.ENOENT), "tgt_open", text("other"), asm.I32(abi.ModeRead)),
		g.some("a target to read", localTarget, "tgt_open", text("old"), asm.I32(abi.ModeRead)),
		g.want("its size", int64(len(referenceOld)), "tgt_size", old),
		g.gives("its bytes", referenceOld, "tgt_read", old, asm.I64(0)),
		g.gives("its last bytes", referenceOld[4:], "tgt_read", old, asm.I64(4)),
		g.want("reading behind its end", 0, "tgt_read", old, asm.I64(100), room(8)),
		g.want("reading before its start", int64(abi.EINVAL), "tgt_read", old, asm.I64(-1), room(8)),
		g.want("closing it", 0, "tgt_close", old),
		g.call("mono_ms"), asm.Set(localTime),
		g.want("sleeping", 0, "sleep_ms", asm.I64(5)),
		g.want("sleeping backwards", int64(abi.EINVAL), "sleep_ms", asm.I64(-1)),
		g.call("mono_ms"), asm.Get(localTime), asm.Op(asm.I64Sub), asm.I64(5), asm.Op(asm.I64LtS),
		asm.If(asm.None, g.fail("mono_ms: want at least 5 more after sleep_ms of 5")),
		g.call("now_ms"), asm.I64(1), asm.Op(asm.I64LtS), asm.If(asm.None, g.fail("now_ms: want a moment after 1970")),
		g.want("random bytes", 8, "random", room(8)),
	)
}

// referenceStream leaves the artifact open, four bytes read.
func (g *guest) referenceStream() asm.Code {
	art := asm.Get(localArtifact)
	return asm.Seq(
		g.gives("a key-value of an earlier phase", "value", "kv_get", g.text("kept")),
		g.some("an artifact", localArtifact, "art_open", g.text("image")),
		g.call("art_open", g.text("image")), art, asm.Op(asm.I32Ne),
		asm.If(asm.None, g.fail("art_open: want the same handle for the same role")),
		clear0(16),
		g.want("its first bytes", 4, "art_read", art, asm.I64(0), room(4)),
		g.holds("its first bytes", referenceImage[:4]),
		g.want("going back in a stream", int64(abi.ESEQ), "art_read", art, asm.I64(2), room(4)),
		g.want("a negative offset", int64(abi.EINVAL), "art_read", art, asm.I64(-1), room(4)),
		g.want("reading into no buffer", 0, "art_read", art, asm.I64(4), room(0)),
	)
}

// referenceTarget leaves the last six bytes of the artifact in the target out.
func (g *guest) referenceTarget() asm.Code {
	art, out := asm.Get(localArtifact), asm.Get(localTarget)
	return asm.Seq(
		g.some("a target to write", localTarget, "tgt_open", g.text("out"), asm.I32(abi.ModeWrite)),
		g.want("beginning anew", 0, "tgt_truncate", out, asm.I64(0)), // an install that was cut may have written
		g.want("writing", 2, "tgt_write", out, asm.I64(0), g.text("ab")),
		g.want("a negative offset", int64(abi.EINVAL), "tgt_write", out, asm.I64(-1), g.text("ab")),
		g.want("the size of what was written", 2, "tgt_size", out),
		g.want("cutting", 0, "tgt_truncate", out, asm.I64(1)),
		g.want("the size after cutting", 1, "tgt_size", out),
		g.want("cutting to more than there is", int64(abi.EINVAL), "tgt_truncate", out, asm.I64(9)),
		g.want("reading what is written", int64(abi.EDENIED), "tgt_read", out, asm.I64(0), room(4)),
		g.want("syncing", 0, "tgt_sync", out),
		g.want("committing in install", int64(abi.EDENIED), "tgt_commit", out),
		g.want("copying from a negative offset", int64(abi.EINVAL), "svc_copy", art, asm.I64(-1), out, asm.I64(0), asm.I64(-1)),
		g.want("copying the rest", int64(len(referenceImage)-4), "svc_copy", art, asm.I64(4), out, asm.I64(0), asm.I64(-1)),
		g.want("the size after copying", int64(len(referenceImage)-4), "tgt_size", out),
		g.want("reading behind the artifact's end", 0, "art_read", art, asm.I64(int64(len(referenceImage))), room(4)),
	)
}

func (g *guest) referenceTree() asm.Code {
	tree, entry := asm.Get(localTarget), asm.Get(localOther)
	code := asm.Seq(
		g.some("a directory", localTarget, "tgt_open", g.text("tree"), asm.I32(abi.ModeWrite)),
		g.want("the size of a directory", int64(abi.EINVAL), "tgt_size", tree),
		g.some("a file below it", localOther, "tgt_entry", tree, g.text("bin/app"), asm.I32(0o755)),
		g.want("writing it", 2, "tgt_write", entry, asm.I64(0), g.text("#!")),
		g.want("a file below a file", int64(abi.EINVAL), "tgt_entry", entry, g.text("x"), asm.I32(0o644)),
		g.want("closing it", 0, "tgt_close", entry),
	)
	for _, path := range []string{"../x", "/x", ".", "", "a//b", "a/../b", `a\b`, "a\x00b"} {
		code = asm.Seq(code, g.want(fmt.Sprintf("the path %q", path), int64(abi.EINVAL), "tgt_entry", tree, g.text(path), asm.I32(0o644)))
	}
	return code
}

func (g *guest) referenceMarks() asm.Code {
	return asm.Seq(
		g.want("too large a mark", int64(abi.EQUOTA), "mark", asm.I32(0), asm.I32(abi.MaxMark+1)),
		g.want("a mark", 0, "mark", g.text("m1")),
		g.gives("the mark", "m1", "last_mark"),
	)
}

func (g *guest) referenceCommit() asm.Code {
	out := asm.Get(localTarget)
	return asm.Seq(
		g.want("an artifact in commit", int64(abi.EDENIED), "art_open", g.text("image")),
		g.gives("the mark of install", "m1", "last_mark"),
		g.some("a target to commit", localTarget, "tgt_open", g.text("out"), asm.I32(abi.ModeWrite)),
		g.want("writing in commit", int64(abi.EDENIED), "tgt_write", out, asm.I64(0), g.text("x")),
		g.want("committing", 0, "tgt_commit", out),
		g.some("a directory to commit", localTarget, "tgt_open", g.text("tree"), asm.I32(abi.ModeWrite)),
		g.want("committing it", 0, "tgt_commit", out),
	)
}

func (g *guest) referenceRollback() asm.Code {
	return asm.Seq(
		g.some("a target to abort", localTarget, "tgt_open", g.text("out"), asm.I32(abi.ModeWrite)),
		g.want("aborting", 0, "tgt_abort", asm.Get(localTarget)),
		g.some("a directory to abort", localTarget, "tgt_open", g.text("tree"), asm.I32(abi.ModeWrite)),
		g.want("aborting it", 0, "tgt_abort", asm.Get(localTarget)),
	)
}

func (g *guest) referenceHealth() asm.Code {
	return asm.Seq(
		g.some("a committed target", localTarget, "tgt_open", g.text("out"), asm.I32(abi.ModeRead)),
		g.gives("what was committed", referenceImage[4:], "tgt_read", asm.Get(localTarget), asm.I64(0)),
		g.some("a committed directory", localTarget, "tgt_open", g.text("tree"), asm.I32(abi.ModeRead)),
		g.some("a file below it", localOther, "tgt_entry", asm.Get(localTarget), g.text("bin/app"), asm.I32(0)),
		g.gives("its bytes", "#!", "tgt_read", asm.Get(localOther), asm.I64(0)),
		g.want("a file that is not there", int64(abi.ENOENT), "tgt_entry", asm.Get(localTarget), g.text("bin/other"), asm.I32(0)),
	)
}

func (g *guest) referenceCleanup() asm.Code {
	return asm.Seq(
		g.want("removing a key-value of an earlier phase", 0, "kv_del", g.text("kept")),
		g.want("a removed key", int64(abi.ENOENT), "kv_get", g.text("kept"), room(8)),
	)
}

func (g *guest) referenceEnumerate() asm.Code {
	return asm.Seq(
		g.gives("the names of the facts", "model\x00region\x00", "prop_list"),
		g.want("state in enumerate", int64(abi.EDENIED), "kv_get", g.text("a"), room(4)),
	)
}
