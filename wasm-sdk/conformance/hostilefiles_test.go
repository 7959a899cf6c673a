package conformance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

// escapes are paths that lead out of where they begin.
var escapes = []string{"..", "../outside/secret", "../../outside/secret", "/etc/passwd", "dir/../../outside/secret", "."}

// wasiPaths calls every function of WASI with a path. An answer of zero ends
// the phase well, which no case may do.
func wasiPaths() []trial {
	var list []trial
	for name, typ := range map[string]string{
		"path_open": "idpdIIdd", "path_create_directory": "ip", "path_filestat_get": "idpd", "path_filestat_set_times": "idpIId",
		"path_readlink": "ippd", "path_remove_directory": "ip", "path_unlink_file": "ip", "path_symlink": "pip", "path_rename": "ipip", "path_link": "idpip",
		"fd_prestat_dir_name": "ip", "fd_readdir": "ipId",
	} {
		list = append(list, trial{name: name, wasm: escaping(name, typ), want: wasmhost.GuestFailed, real: true})
	}
	g := newStep()
	code := g.openTarget("tree")
	for _, path := range escapes {
		code = asm.Seq(code, g.call("tgt_entry", asm.Get(localTarget), g.text(path), asm.I32(0o644)),
			asm.I32(0), asm.Op(asm.I32GeS), asm.If(asm.None, asm.I32(0), asm.Op(asm.Return)))
	}
	code = asm.Seq(code, g.call("tgt_open", g.text("/etc/passwd"), asm.I32(abi.ModeRead)),
		asm.I32(0), asm.Op(asm.I32GeS), asm.If(asm.None, asm.I32(0), asm.Op(asm.Return)))
	return append(list, trial{name: "tgt_entry", wasm: g.doing(1, code, g.fail("every path was refused")), want: wasmhost.GuestFailed, real: true})
}

// escaping calls a function with each path and each of the first descriptors.
// In its type p is a path, d a number without importance.
func escaping(name, typ string) []byte {
	g := newStep()
	f := g.wasi(name, strings.NewReplacer("p", "ii", "d", "i").Replace(typ)+":i")
	var code asm.Code
	for _, path := range escapes {
		at := g.text(path)
		for fd := range int32(6) {
			for _, letter := range typ {
				switch letter {
				case 'p':
					code = asm.Seq(code, at)
				case 'I':
					code = asm.Seq(code, asm.I64(-1))
				case 'i':
					code = asm.Seq(code, asm.I32(fd))
				default:
					code = asm.Seq(code, asm.I32(0))
				}
			}
			code = asm.Seq(code, asm.Call(f), asm.Op(asm.I32Eqz), asm.If(asm.None, asm.I32(0), asm.Op(asm.Return)))
		}
	}
	return g.doing(1, code, g.fail("every path was refused"))
}

// plantedLinks are links that something else put into the device's folders, at
// the moment when the module has its target open.
func plantedLinks() []trial {
	reading := func(path string) []byte {
		g := newStep()
		return g.doing(1, g.call("log", asm.I32(abi.LevelInfo), g.text("now")),
			g.some("the target", localTarget, "tgt_open", g.text("old"), asm.I32(abi.ModeRead)),
			g.refused("tgt_entry", asm.Get(localTarget), g.text(path), asm.I32(0)))
	}
	writing := func(path string) []byte {
		g := newStep()
		write := g.call("tgt_write", asm.Get(localOther), asm.I64(0), g.text("overwritten"))
		return g.doing(1, g.openTarget("tree"), drop(g.call("tgt_entry", asm.Get(localTarget), g.text("dir/first"), asm.I32(0o644))),
			g.call("log", asm.I32(abi.LevelInfo), g.text("now")),
			g.call("tgt_entry", asm.Get(localTarget), g.text(path), asm.I32(0o644)), asm.Tee(localOther),
			asm.I32(0), asm.Op(asm.I32LtS), asm.If(asm.None, g.fail("the entry was refused")),
			drop(write), drop(g.call("tgt_sync", asm.Get(localOther))), g.fail("the entry was written"))
	}
	var list []trial
	for _, path := range []string{"link", "link/secret", "file", "dir/link", "dir/link/secret", "dir/file"} {
		list = append(list,
			trial{name: "reading " + path, wasm: reading(path), want: wasmhost.HostIO, real: true, planted: plant},
			trial{name: "writing " + path, wasm: writing(path), want: wasmhost.HostIO, real: true, planted: plant})
	}
	return list
}

// plant puts links to what is outside into every folder of the device: link
// to the folder, and file to the file in it.
func plant(t *testing.T, device, outside string) {
	err := filepath.WalkDir(device, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		for link, to := range map[string]string{"link": outside, "file": filepath.Join(outside, "secret")} {
			at := filepath.Join(name, link)
			if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := os.Symlink(to, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// tarHead is the header of a member, and nothing of what is in it.
func tarHead(name string, kind byte, link string, size int64) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Linkname: link, Size: size, Mode: 0o644, Format: tar.FormatGNU}); err != nil {
		panic(fmt.Sprintf("tar header of %s: %v", name, err))
	}
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// ownLinks makes links by WASI, and by unpacking archives that hold them.
func ownLinks() []trial {
	list := []trial{{name: "path_symlink", wasm: escaping("path_symlink", "pip"), want: wasmhost.GuestFailed, real: true},
		{name: "path_link", wasm: escaping("path_link", "idpip"), want: wasmhost.GuestFailed, real: true}}
	file := append(tarHead("link/secret", tar.TypeReg, "", 11), append([]byte("overwritten"), make([]byte, 512-11)...)...)
	end := make([]byte, 1024)
	for name, head := range map[string][]byte{
		"a link to a folder":    tarHead("link", tar.TypeSymlink, "../../../outside", 0),
		"an absolute link":      tarHead("link", tar.TypeSymlink, "/", 0),
		"a hard link":           tarHead("link", tar.TypeLink, "../../../outside/secret", 0),
		"a device":              tarHead("link", tar.TypeChar, "", 0),
		"a pipe":                tarHead("link", tar.TypeFifo, "", 0),
		"a path that leads out": tarHead("../../../outside/new", tar.TypeReg, "", 0),
		"an absolute path":      tarHead("/tmp/updraft-hostile", tar.TypeReg, "", 0),
	} {
		g := newStep()
		wasm := g.doing(1, g.openArtifact("image"), g.openTarget("tree"), g.refused("svc_unpack", asm.Get(localArtifact), asm.Get(localTarget)))
		archive := bytes.Join([][]byte{head, file, end}, nil)
		list = append(list, trial{name: "unpacking " + name, wasm: wasm, want: wasmhost.GuestFailed, real: true, setup: image(archive)})
	}
	return list
}
