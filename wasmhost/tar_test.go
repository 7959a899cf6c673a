package wasmhost

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// listed is what a reader finds in a tar: a line a member, with its digest.
// Whole says that it came to the end.
func listed(data []byte) (lines []string, whole bool) {
	r := &tarReader{r: bytes.NewReader(data)}
	for {
		f, err := r.next()
		if err != nil {
			return lines, err == io.EOF
		}
		text, err := io.ReadAll(r)
		lines = append(lines, fmt.Sprint(f.raw, " ", f.kind, " ", f.perm, " ", f.odd, " ", f.size, " ", sha(text)))
		if err != nil {
			return lines, false
		}
	}
}

// listedByGo is the same by the standard library.
func listedByGo(data []byte) (lines []string, whole bool) {
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err != nil {
			return lines, err == io.EOF
		}
		k := special
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg:
			k = regular
		case tar.TypeDir:
			k = folder
		}
		text, err := io.ReadAll(r)
		if k == special { // it is never opened
			h.Size = int64(len(text))
		}
		lines = append(lines, fmt.Sprint(h.Name, " ", k, " ", os.FileMode(h.Mode)&os.ModePerm, " ", h.Mode&0o6000 != 0, " ", h.Size, " ", sha(text)))
		if err != nil {
			return lines, false
		}
	}
}

func compare(t *testing.T, data []byte, members int) {
	t.Helper()
	got, whole := listed(data)
	want, wantWhole := listedByGo(data)
	if strings.Join(got, "\n") != strings.Join(want, "\n") || whole != wantWhole || len(got) != members {
		t.Errorf("got (whole: %v)\n%s\nwant (whole: %v) %d members\n%s", whole, strings.Join(got, "\n"), wantWhole, members, strings.Join(want, "\n"))
	}
}

func TestTarFormats(t *testing.T) {
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		names := []string{"a", "dir/", "dir/" + strings.Repeat("part/", 20) + "b", "link", strings.Repeat("n", 100)}
		if format != tar.FormatUSTAR {
			names = append(names, strings.Repeat("long/", 90)+"c", "ä/ö")
		}
		for i, name := range names {
			h := &tar.Header{Name: name, Mode: 0o100755, Format: format, Size: int64(i) * 300}
			if name == "link" {
				h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, strings.Repeat("l", 90), 0
			}
			if strings.HasSuffix(name, "/") {
				h.Size = 0
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(bytes.Repeat([]byte{byte(i)}, int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		compare(t, out.Bytes(), len(names))
		compare(t, out.Bytes()[:out.Len()-512], len(names))
		compare(t, out.Bytes()[:out.Len()-1024], len(names))
	}
}

// What the tar program writes.
func TestTarOfTheProgram(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("there is no tar program here")
	}
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("folder/", 20))
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{filepath.Join(dir, "a"): "text of a", filepath.Join(long, "file"): strings.Repeat("x", 1000)} {
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []string{"gnu", "oldgnu", "pax", "ustar"} {
		c := exec.Command("tar", "-C", dir, "--format="+format, "-cf", "-", ".")
		data, err := c.Output()
		if err != nil {
			t.Skip("the tar program does not know the format", format)
		}
		compare(t, data, 23)
	}
}

// FuzzTar compares with the standard library: what both read whole is the
// same. Each is stricter than the other somewhere.
func FuzzTar(f *testing.F) {
	f.Add(tarOf(f, members(map[string]string{"a": "text", "b": strings.Repeat("b", 600)})))
	f.Add(tarOf(f, []tarMember{{kind: tar.TypeXGlobalHeader}, {name: strings.Repeat("long/", 90), kind: '5'}, {name: "l", kind: tar.TypeSymlink, link: "x"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, whole := listed(data)
		want, wantWhole := listedByGo(data)
		if whole && wantWhole && !bytes.Contains(data, []byte("GNU.")) && strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
