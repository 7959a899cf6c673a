package conformance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"fmt"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

const (
	referencePatched = referenceOld + "!"
	referenceMember  = "etc/name"
	referenceValue   = "value"
)

// referencePatch is a VCDIFF patch (RFC 3284) that copies all six bytes of the
// old file and adds one: header, one window with the old file as its source,
// then data, instructions and addresses.
const referencePatch = "\xd6\xc3\xc4\x00\x00" + "\x01\x06\x00" + "\x09\x07\x00\x01\x02\x01" + "!" + "\x16\x02" + "\x00"

// ServicesSetup is the device on which [ServicesGuest] comes to its end: a
// file target old to read that holds "before", the file targets plain and new
// and the directory target files, none of them there yet, and the artifacts
// packed (the ten digits in gzip), patch (a patch of old), and folder and
// member, each a tar of one file.
func ServicesSetup() (Setup, error) {
	var packed, folder bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(referenceImage)); err != nil {
		return Setup{}, err
	}
	if err := z.Close(); err != nil {
		return Setup{}, err
	}
	t := tar.NewWriter(&folder)
	if err := t.WriteHeader(&tar.Header{Name: referenceMember, Mode: 0o640, Size: int64(len(referenceValue))}); err != nil {
		return Setup{}, err
	}
	if _, err := t.Write([]byte(referenceValue)); err != nil {
		return Setup{}, err
	}
	if err := t.Close(); err != nil {
		return Setup{}, err
	}
	return Setup{
		Artifacts: map[string]*Blob{"packed": Bytes(packed.Bytes()), "patch": Bytes([]byte(referencePatch)),
			"folder": Bytes(folder.Bytes()), "member": Bytes(folder.Bytes())},
		Targets: map[string]Target{
			"old":   {Type: device.File, Mode: wasmhost.Read, Content: Bytes([]byte(referenceOld))},
			"plain": {Type: device.File},
			"new":   {Type: device.File},
			"files": {Type: device.Directory},
		},
	}, nil
}

// zeros is a reader without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// ServicesGuest is [ReferenceGuest] for the host's services: hashing,
// verifying, inflating, patching, unpacking, and reading members of archives.
// It expects the device of [ServicesSetup]. The error is one of making the
// signature that it carries.
func ServicesGuest() ([]byte, error) {
	key, public, err := trust.NewKey(zeros{}) // it protects nothing
	if err != nil {
		return nil, err
	}
	good, err := trust.Sign(bytes.NewReader([]byte(referenceOld)), key, "reference", "reference")
	if err != nil {
		return nil, err
	}
	bad, err := trust.Sign(bytes.NewReader([]byte("another")), key, "reference", "reference")
	if err != nil {
		return nil, err
	}
	g := newGuest("services", abi.KindInstall, abi.Install, abi.Commit, abi.Health)
	g.manifest.Roles = abi.Roles{Artifacts: []string{"folder", "member", "packed", "patch"}, Targets: []string{"files", "new", "old", "plain"}}
	return g.bytes(1, map[abi.Phase]asm.Code{
		abi.Install: asm.Seq(
			g.some("the old file", localOther, "tgt_open", g.text("old"), asm.I32(abi.ModeRead)),
			g.servicesHash(), g.servicesVerify(string(public.Encode()), string(good), string(bad)),
			g.servicesPatch(), g.servicesInflate(), g.servicesMember(), g.servicesUnpack()),
		abi.Commit: asm.Seq(g.commitTarget("plain"), g.commitTarget("new"), g.commitTarget("files")),
		abi.Health: asm.Seq(
			g.some("what was inflated", localTarget, "tgt_open", g.text("plain"), asm.I32(abi.ModeRead)),
			g.gives("what was inflated", referenceImage, "tgt_read", asm.Get(localTarget), asm.I64(0)),
			g.some("what was patched", localTarget, "tgt_open", g.text("new"), asm.I32(abi.ModeRead)),
			g.gives("what was patched", referencePatched, "tgt_read", asm.Get(localTarget), asm.I64(0)),
			g.some("what was unpacked", localTarget, "tgt_open", g.text("files"), asm.I32(abi.ModeRead)),
			g.some("its file", localOther, "tgt_entry", asm.Get(localTarget), g.text(referenceMember), asm.I32(0)),
			g.gives("its file", referenceValue, "tgt_read", asm.Get(localOther), asm.I64(0))),
	}), nil
}

func (g *guest) commitTarget(role string) asm.Code {
	return asm.Seq(g.some(fmt.Sprintf("the target %s to commit", role), localTarget, "tgt_open", g.text(role), asm.I32(abi.ModeWrite)),
		g.want(fmt.Sprintf("committing %s", role), 0, "tgt_commit", asm.Get(localTarget)))
}

func (g *guest) servicesHash() asm.Code {
	old := asm.Get(localOther)
	all := asm.Seq(old, asm.I64(0), asm.I64(-1))
	wide, short := sha512.Sum512([]byte(referenceOld)), md5.Sum([]byte(referenceOld))
	return asm.Seq(
		g.gives("SHA-256 of a target", Bytes([]byte(referenceOld)).SHA256(), "svc_hash", all, asm.I32(abi.SHA256)),
		g.gives("SHA-512 of a target", hex.EncodeToString(wide[:]), "svc_hash", all, asm.I32(abi.SHA512)),
		g.gives("MD5 of a target", hex.EncodeToString(short[:]), "svc_hash", all, asm.I32(abi.MD5)),
		g.gives("SHA-256 of a part", Bytes([]byte(referenceOld[2:4])).SHA256(), "svc_hash", old, asm.I64(2), asm.I64(2), asm.I32(abi.SHA256)),
		g.want("a digest into a buffer that is too small", 64, "svc_hash", all, asm.I32(abi.SHA256), room(63)),
		g.want("a digest of no algorithm", int64(abi.EINVAL), "svc_hash", all, asm.I32(99), room(128)),
		g.want("a digest of more than there is", int64(abi.EINVAL), "svc_hash", old, asm.I64(0), asm.I64(7), asm.I32(abi.SHA256), room(128)),
		g.want("a digest from before the start", int64(abi.EINVAL), "svc_hash", old, asm.I64(-1), asm.I64(1), asm.I32(abi.SHA256), room(128)),
	)
}

func (g *guest) servicesVerify(key, good, bad string) asm.Code {
	old := asm.Get(localOther)
	return asm.Seq(
		g.want("a signature", 0, "svc_verify", old, g.text(good), g.text(key)),
		g.want("a signature of something else", int64(abi.EBADDATA), "svc_verify", old, g.text(bad), g.text(key)),
		g.want("a signature that is none", int64(abi.EBADDATA), "svc_verify", old, g.text("text"), g.text(key)),
		g.want("a key that is none", int64(abi.EINVAL), "svc_verify", old, g.text(good), g.text("text")),
	)
}

func (g *guest) servicesPatch() asm.Code {
	art, out := asm.Get(localArtifact), asm.Get(localTarget)
	return asm.Seq(
		g.some("a patch", localArtifact, "art_open", g.text("patch")),
		g.some("a target for it", localTarget, "tgt_open", g.text("new"), asm.I32(abi.ModeWrite)),
		g.want("a patch of no kind", int64(abi.EINVAL), "svc_patch", asm.I32(99), asm.Get(localOther), art, out),
		g.want("patching", int64(len(referencePatched)), "svc_patch", asm.I32(abi.PatchVCDIFF), asm.Get(localOther), art, out),
		g.want("the size after patching", int64(len(referencePatched)), "tgt_size", out),
		g.want("patching again", int64(len(referencePatched)), "svc_patch", asm.I32(abi.PatchVCDIFF), asm.Get(localOther), art, out),
	)
}

func (g *guest) servicesInflate() asm.Code {
	art, out := asm.Get(localArtifact), asm.Get(localTarget)
	return asm.Seq(
		g.some("a compressed artifact", localArtifact, "art_open", g.text("packed")),
		g.some("a target for it", localTarget, "tgt_open", g.text("plain"), asm.I32(abi.ModeWrite)),
		g.want("compression of no kind", int64(abi.EINVAL), "svc_inflate", asm.I32(99), art, out),
		g.want("inflating what is recognised", int64(len(referenceImage)), "svc_inflate", asm.I32(0), art, out),
		g.want("the size after inflating", int64(len(referenceImage)), "tgt_size", out),
		g.want("closing the artifact", 0, "art_close", art),
	)
}

func (g *guest) servicesMember() asm.Code {
	return asm.Seq(
		g.some("an archive", localArtifact, "art_open", g.text("member")),
		g.some("its file", localTarget, "art_entry", asm.Get(localArtifact), g.text(referenceMember)),
		g.want("the file's size", int64(len(referenceValue)), "art_size", asm.Get(localTarget)),
		g.gives("the file's bytes", referenceValue, "art_read", asm.Get(localTarget), asm.I64(0)),
		g.want("closing the file", 0, "art_close", asm.Get(localTarget)),
		g.want("a file that is not there", int64(abi.ENOENT), "art_entry", asm.Get(localArtifact), g.text("etc/none")),
		g.want("closing the archive", 0, "art_close", asm.Get(localArtifact)),
	)
}

func (g *guest) servicesUnpack() asm.Code {
	art, out := asm.Get(localArtifact), asm.Get(localTarget)
	return asm.Seq(
		g.some("an archive to unpack", localArtifact, "art_open", g.text("folder")),
		g.want("unpacking into a file", int64(abi.EINVAL), "svc_unpack", art, asm.Get(localOther)),
		g.some("a directory for it", localTarget, "tgt_open", g.text("files"), asm.I32(abi.ModeWrite)),
		g.want("unpacking", 1, "svc_unpack", art, out),
	)
}
