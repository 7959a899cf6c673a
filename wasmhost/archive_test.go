package wasmhost

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// tarMember is what a test puts into an archive.
type tarMember struct {
	name, text, link string
	kind             byte // 0: a file
	mode             int64
}

func members(files map[string]string) []tarMember {
	var list []tarMember
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, tarMember{name: name, text: files[name]})
	}
	return list
}

func tarOf(t testing.TB, list []tarMember) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range list {
		h := &tar.Header{Name: m.name, Size: int64(len(m.text)), Mode: m.mode, Typeflag: m.kind, Linkname: m.link}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			h = &tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "a commit"}}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipOf(t testing.TB, list []tarMember) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i, m := range list {
		h := &zip.FileHeader{Name: m.name, Method: []uint16{zip.Deflate, zip.Store}[i%2]}
		mode := fs.FileMode(0o644)
		switch m.kind {
		case tar.TypeDir:
			mode = fs.ModeDir | 0o755
		case tar.TypeSymlink:
			mode, m.text = fs.ModeSymlink|0o777, m.link
		case tar.TypeChar:
			mode = fs.ModeDevice | fs.ModeCharDevice | 0o600
		}
		if m.mode&0o4000 != 0 {
			mode |= fs.ModeSetuid
		}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(m.text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestEntriesOfATar(t *testing.T) {
	list := []tarMember{
		{kind: tar.TypeXGlobalHeader}, {name: "./"}, {name: "./a"}, {name: "dir/", kind: tar.TypeDir}, {name: "dir/b", text: "bytes of b"},
		{name: "link", kind: tar.TypeSymlink, link: "a"}, {name: strings.Repeat("long/", 50) + "c", text: string(image(200_000))}, {name: "d", text: "last"},
	}
	list[1].kind, list[2].text = tar.TypeDir, "bytes of a"
	inner := tarOf(t, list)
	for name, data := range map[string][]byte{"tar": inner, "tar.gz": packed(t, "gzip", inner), "tar.zst": packed(t, "zstd", inner)} {
		t.Run(name, func(t *testing.T) {
			b := newBench(data, device.Slots)
			err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
				art, buf := s.must("art_open", "image"), make([]byte, 300_000)
				a := s.must("art_entry", art, "a")
				s.want(10, "art_size", a)
				s.want(abi.EUNKNOWN, "art_digest", a, abi.SHA256, buf)
				s.want(4, "art_read", a, 6, buf[:4])
				if string(buf[:4]) != "of a"[:4] {
					t.Errorf("read %q", buf[:4])
				}
				s.want(abi.ESEQ, "art_read", a, 0, buf)
				s.want(0, "art_read", a, 100, buf)
				m := s.must("art_entry", art, "dir/b")
				s.want(abi.ESEQ, "art_read", a, 10, buf) // the stream went on
				s.want(10, "art_read", m, 0, buf)
				s.want(abi.EINVAL, "art_entry", art, "link")
				c := s.must("art_entry", art, strings.Repeat("long/", 50)+"c")
				if s.want(64, "svc_hash", c, 0, -1, abi.SHA256, buf); string(buf[:64]) != sha(image(200_000)) {
					t.Error("another digest")
				}
				s.want(abi.ENOENT, "art_entry", art, "a") // it is behind
				for _, bad := range []string{"", ".", "../a", "/a", "./a", "a/", "a//b", `a\b`, "a\x00"} {
					s.want(abi.EINVAL, "art_entry", art, bad)
				}
				s.want(0, "art_close", a)
				if !trapped(func() { s.ask("art_size", a) }) || trapped(func() { s.ask("art_size", m) }) {
					t.Error("the closed member did not trap, or the other one did")
				}
				s.want(0, "art_close", art)
				if !trapped(func() { s.ask("art_size", m) }) || !trapped(func() { s.ask("art_size", art) }) {
					t.Error("a handle outlived its archive")
				}
				again := s.must("art_open", "image")
				s.want(abi.ENOENT, "art_entry", again, "d") // a search went to the end
			})
			if err != nil || b.source.read != int64(len(data)) {
				t.Errorf("%d of %d bytes were read, error %v", b.source.read, len(data), err)
			}
		})
	}
	for name, tt := range map[string]struct {
		data []byte
		want abi.Errno
	}{
		"cut off":         {inner[:len(inner)-mib/8], abi.EBADDATA},
		"cut off in gzip": {packed(t, "gzip", inner)[:1000], abi.EBADDATA},
		"damaged":         {slices.Concat(inner[:1024], []byte("xxxxxxxx"), inner[1032:]), abi.EBADDATA},
		"no archive":      {image(mib), abi.EBADDATA},
		"a zip":           {zipOf(t, list[2:]), abi.ESEQ},
		"empty":           {nil, abi.ENOENT},
	} {
		b := newBench(tt.data, device.Slots)
		if err := run(t, abi.Install, plain(""), &b.grants, func(s *script) { s.want(tt.want, "art_entry", s.must("art_open", "image"), "d") }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An archive in an archive, and handles within their limit.
func TestArchiveInAnArchive(t *testing.T) {
	inner := packed(t, "gzip", tarOf(t, members(map[string]string{"x": "the inner one"})))
	b := newBench(tarOf(t, members(map[string]string{"a.tgz": string(inner), "b": "behind"})), device.Slots)
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		art, buf := s.must("art_open", "image"), make([]byte, 100)
		x := s.must("art_entry", s.must("art_entry", art, "a.tgz"), "x")
		if s.want(13, "art_read", x, 0, buf); string(buf[:13]) != "the inner one" {
			t.Errorf("read %q", buf[:13])
		}
		s.want(6, "art_size", s.must("art_entry", art, "b"))
		for range abi.MaxHandles {
			s.c.handles.add(kindTarget, &target{})
		}
		s.want(abi.EMFILE, "art_entry", art, "b")
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEntriesOfAZip(t *testing.T) {
	list := []tarMember{{name: "dir/", kind: tar.TypeDir}, {name: "a", text: strings.Repeat("text of a ", 1000)}, {name: "b", text: "b is stored"}, {name: "link", kind: tar.TypeSymlink, link: "a"}, {name: "c", text: ""}}
	data := zipOf(t, list)
	try := func(data []byte, do func(s *script, art int64)) {
		t.Helper()
		b := newBench(data, device.Slots)
		b.grants.Sources["image"] = &stored{b.source, bytes.NewReader(data)}
		if err := run(t, abi.Install, plain(abi.Random), &b.grants, func(s *script) { do(s, s.must("art_open", "image")) }); err != nil {
			t.Error(err)
		}
	}
	try(data, func(s *script, art int64) {
		buf := make([]byte, 20_000)
		b, a := s.must("art_entry", art, "b"), s.must("art_entry", art, "a") // any order, both at once
		s.want(5, "art_read", a, 0, buf[:5])
		s.want(11, "art_read", b, 0, buf)
		s.want(9995, "art_read", a, 5, buf)
		s.want(0, "art_read", a, 10_000, buf)
		s.want(0, "art_size", s.must("art_entry", art, "c"))
		s.want(abi.EINVAL, "art_entry", art, "link")
		s.want(abi.EINVAL, "art_entry", art, "dir")
		s.want(abi.ENOENT, "art_entry", art, "e")
	})
	// Each byte of the file may be another one: no panic, and what is read whole is right.
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		bad := bytes.Clone(data)
		for range 1 + random.IntN(3) {
			bad[random.IntN(len(bad))] = byte(random.Int())
		}
		try(bad, func(s *script, art int64) {
			m := s.ask("art_entry", art, "b")
			if m < 0 {
				return
			}
			buf := make([]byte, 100)
			n := s.ask("art_read", m, 0, buf)
			if n > 0 && s.ask("art_read", m, n, buf[n:]) == 0 && string(buf[:n]) != "b is stored" && n == s.ask("art_size", m) {
				t.Errorf("read %q", buf[:n])
			}
		})
	}
	for name, bad := range map[string][]byte{
		"cut off": data[:len(data)-1], "no end": data[:len(data)-22], "head alone": []byte("PK\x03\x04"), "the end alone": data[len(data)-22:],
		"a directory beyond the file": patchedAt(data, len(data)-6, 0xff, 0xff, 0xff, 0x7f),
		"too many files":              patchedAt(data, len(data)-12, 0xfe, 0xff),
	} {
		try(bad, func(s *script, art int64) {
			if got := s.ask("art_entry", art, "zz"); got != int64(abi.EBADDATA) {
				t.Errorf("%s: %v, want EBADDATA", name, abi.Errno(got))
			}
		})
	}
}

func patchedAt(b []byte, at int, with ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

func TestUnpackRefusesHostileArchives(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []tarMember
		want any
	}{
		{"files and folders", []tarMember{{name: "./", kind: '5'}, {name: "./d/", kind: '5'}, {name: "./d/f", text: "f", mode: 0o600}, {name: "g", text: "g"}}, 2},
		{"nothing", nil, 0},
		{"up", []tarMember{{name: "../x"}}, abi.EBADDATA},
		{"up and down", []tarMember{{name: "a/../../x"}}, abi.EBADDATA},
		{"up within", []tarMember{{name: "a/../x"}}, abi.EBADDATA},
		{"absolute", []tarMember{{name: "/etc/passwd"}}, abi.EBADDATA},
		{"absolute folder", []tarMember{{name: "/", kind: '5'}}, abi.EBADDATA},
		{"up folder", []tarMember{{name: "../", kind: '5'}}, abi.EBADDATA},
		{"a drive's path", []tarMember{{name: `c:\x`}}, abi.EBADDATA},
		{"a link", []tarMember{{name: "l", kind: tar.TypeSymlink, link: "/etc"}, {name: "l/x"}}, abi.EBADDATA},
		{"a device", []tarMember{{name: "null", kind: tar.TypeChar}}, abi.EBADDATA},
		{"setuid", []tarMember{{name: "su", text: "x", mode: 0o4755}}, abi.EBADDATA},
		{"twice", []tarMember{{name: "x", text: "1"}, {name: "x", text: "2"}}, abi.EBADDATA},
		{"twice, spelt differently", []tarMember{{name: "x", text: "1"}, {name: "./x", text: "2"}}, abi.EBADDATA},
		{"too large", []tarMember{{name: "x", text: strings.Repeat("x", 600)}, {name: "y", text: strings.Repeat("y", 600)}}, abi.EQUOTA},
		{"a long name", []tarMember{{name: strings.Repeat("n", abi.MaxName+1)}}, abi.EBADDATA},
	} {
		for format, make := range map[string]func(testing.TB, []tarMember) []byte{"tar": tarOf, "zip": zipOf} {
			t.Run(tt.name+" in a "+format, func(t *testing.T) {
				data := make(t, tt.list)
				b := newBench(data, device.Directory)
				b.grants.Sources["image"] = &stored{b.source, bytes.NewReader(data)}
				b.grants.Targets["out"] = Target{Ref: "out", Type: device.Directory, Mode: Write, Quota: 1000}
				err := run(t, abi.Install, plain(abi.Random), &b.grants, func(s *script) {
					s.want(tt.want, "svc_unpack", s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
				})
				if err != nil {
					t.Error(err)
				}
				for name := range b.door.staged {
					if strings.Contains(name, "..") || !within(name, "out") {
						t.Errorf("%s was written", name)
					}
				}
			})
		}
	}
	// Links of tar alone, and a target that is no directory.
	b := newBench(tarOf(t, []tarMember{{name: "x", text: "x"}, {name: "y", kind: tar.TypeLink, link: "x"}}), device.Directory)
	b.grants.Targets["file"] = Target{Ref: "file", Type: device.File, Mode: Write}
	b.grants.Targets["in"] = Target{Ref: "in", Type: device.Directory, Mode: Read}
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		art := s.must("art_open", "image")
		s.want(abi.EINVAL, "svc_unpack", art, s.must("tgt_open", "file", abi.ModeWrite))
		s.want(abi.EDENIED, "svc_unpack", art, s.must("tgt_open", "in", abi.ModeRead))
		s.want(abi.EBADDATA, "svc_unpack", art, s.must("tgt_open", "out", abi.ModeWrite))
		if !trapped(func() { s.ask("svc_unpack", art+1, s.must("tgt_open", "out", abi.ModeWrite)) }) {
			t.Error("a guessed handle did not trap")
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// A bomb ends at the quota, however much it would give.
func TestUnpackOfABomb(t *testing.T) {
	data := packed(t, "gzip", tarOf(t, []tarMember{{name: "zeros", text: string(make([]byte, 64*mib))}}))
	b := newBench(data, device.Directory)
	b.grants.Targets["out"] = Target{Ref: "out", Type: device.Directory, Mode: Write, Quota: mib}
	err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		s.want(abi.EQUOTA, "svc_unpack", s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
		if n := len(b.door.staged["out/zeros"].now); n > mib {
			t.Errorf("%d bytes were written, 1 MiB is granted", n)
		}
	})
	if err != nil {
		t.Error(err)
	}
	many := make([]tarMember, maxMembers+1)
	for i := range many {
		many[i].name = strings.Repeat("a", 1+i%50) + string(rune('a'+i%26)) + "/" + sha([]byte{byte(i), byte(i >> 8), byte(i >> 16)})[:12]
		many[i].kind = tar.TypeDir
		many[i].name += "/"
	}
	b = newBench(tarOf(t, many), device.Directory)
	err = run(t, abi.Install, plain(""), &b.grants, func(s *script) {
		s.want(abi.EQUOTA, "svc_unpack", s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
	})
	if err != nil {
		t.Error(err)
	}
}

// FuzzArchive unpacks anything: only local names reach the door, and what
// comes out is bounded.
func FuzzArchive(f *testing.F) {
	list := []tarMember{{name: "./", kind: '5'}, {name: "a", text: "text"}, {name: "d/", kind: '5'}, {name: "d/b", text: strings.Repeat("b", 700)}, {name: "l", kind: tar.TypeSymlink, link: ".."}, {name: "../x", text: "x"}}
	f.Add(tarOf(f, list[:4]))
	f.Add(tarOf(f, list))
	f.Add(zipOf(f, list[1:4]))
	f.Add(zipOf(f, list))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBench(data, device.Directory)
		b.grants.Sources["image"] = &stored{b.source, bytes.NewReader(data)}
		b.grants.Targets["out"] = Target{Ref: "out", Type: device.Directory, Mode: Write, Quota: 1 << 16}
		err := run(t, abi.Install, plain(abi.Random), &b.grants, func(s *script) {
			s.ask("svc_unpack", s.must("art_open", "image"), s.must("tgt_open", "out", abi.ModeWrite))
			s.ask("art_entry", s.must("art_open", "image"), "d/b")
		})
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for name, f := range b.door.staged {
			entry, below := strings.CutPrefix(strings.TrimSuffix(name, "/"), "out/")
			if total += len(f.now); below && !fs.ValidPath(entry) || !within(name, "out") {
				t.Errorf("%q was written", name)
			}
		}
		if total > 1<<16 {
			t.Errorf("%d bytes were written", total)
		}
	})
}
