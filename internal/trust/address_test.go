package trust

import (
	"errors"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	for _, tt := range []struct{ name, manifest, ref, want string }{
		{"beside it", "https://h/a/release.json?sig=1", "image.bin", "https://h/a/image.bin"},
		{"with a query", "https://h/a/release.json", "image.bin?sig=2", "https://h/a/image.bin?sig=2"},
		{"above it", "http://h:81/a/b/release.json", "../x/y", "http://h:81/a/x/y"},
		{"from the root", "http://h/a/release.json", "/x", "http://h/x"},
		{"on another host", "https://h/release.json", "https://cdn.example/x", "https://cdn.example/x"},
		{"same scheme, other host", "https://h/release.json", "//cdn.example/x", "https://cdn.example/x"},
		{"up to https", "http://h/release.json", "https://h/x", "https://h/x"},
		{"upper case", "HTTPS://h/release.json", "x", "https://h/x"},
		{"a file", "file:///media/usb/release.json", "image%20a.bin", "file:///media/usb/image%20a.bin"},
		{"a file to the network", "file:///media/usb/release.json", "http://h/x", "http://h/x"},
		{"a path", "out/release.json", "image%20a.bin", "out/image a.bin"},
		{"a path alone", "release.json", "image.bin", "image.bin"},
		{"an absolute path", "/out/release.json", "../x/image.bin", "/x/image.bin"},
		{"a path to an absolute one", "out/release.json", "/x/image.bin", "/x/image.bin"},
		{"a path to a file", "out/release.json", "file:///x", "file:///x"},
		{"a path to the network", "./a:b/release.json", "https://h/x", "https://h/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Resolve(tt.manifest, tt.ref)
			if err != nil || got != tt.want {
				t.Errorf("Resolve = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	const web, file, path = "https://h/a/release.json?sig=hunter2", "file:///a/release.json", "a/release.json"
	for _, tt := range []struct{ name, manifest, ref, want string }{
		{"down to http", web, "http://h/x?sig=hunter2", "from https may not lead to http"},
		{"https to a file", web, "file:///etc/passwd", "from https may not lead to file"},
		{"http to a file", "http://h/release.json", "file:///etc/passwd", "from http may not lead to file"},
		{"another scheme", web, "ftp://h/x", `scheme "ftp"`},
		{"a script", web, "javascript:alert(1)", `scheme "javascript"`},
		{"a manifest of another scheme", "s3://bucket/release.json", "x", `scheme "s3"`},
		{"a password", web, "https://u:hunter2@h/x", "user name or password"},
		{"a password in the manifest", "https://u:hunter2@h/release.json", "x", "user name or password"},
		{"a password on another host", web, "//u:hunter2@h/x", "user name or password"},
		{"a fragment", web, "x#hunter2", "fragment"},
		{"no host", web, "https:///x", "no host"},
		{"no slashes", web, "https:x", "no //"},
		{"a file on a host", file, "file://server/x", "file with a host"},
		{"a host from a file", file, "//server/x", "file with a host"},
		{"a query from a file", file, "x?hunter2", "file with a host or a query"},
		{"a host from a path", path, "//server/x", "a host or a query"},
		{"a query from a path", path, "x?hunter2", "a host or a query"},
		{"only a query", web, "?x=hunter2", "no path"},
		{"nothing", web, "", "is empty"},
		{"a NUL", path, "a%00b", "control character"},
		{"a line end", web, "a%0ab", "control character"},
		{"broken escapes", web, "a%zz?hunter2", "cannot be read"},
		{"a port that is a password", web, "https://u:hunter2/x", "cannot be read"},
		{"too long", web, strings.Repeat("x", MaxURL+1), "at most 2048"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Resolve(tt.manifest, tt.ref)
			if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), tt.want) || got != "" {
				t.Fatalf("Resolve = %q, %v, want ErrUntrusted with %q", got, err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message gives a secret away: %v", err)
			}
		})
	}
}

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ address, want string }{
		{"https://h/a/b?sig=1#x", "https://h/a/b"},
		{"https://user:pass@h:81/a?b", "https://h:81/a"},
		{"https://user@h/a", "https://h/a"},
		{"//user:pass@h/a", "//h/a"},
		{"https://user:pa/ss@h/a", "https:(unreadable)"},
		{"https://user:pa?ss@h/a", "https:(unreadable)"},
		{"https:user:pass@h", "https:(unreadable)"},
		{"mqtts://u:p@broker", "mqtts://broker"},
		{"file:///a/b", "file:///a/b"},
		{"a/b@2.bin?sig=1", "a/b@2.bin"},
		{"/a/b#c", "/a/b"},
		{"", ""},
	} {
		if got := Redact(tt.address); got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.address, got, tt.want)
		}
	}
}
