package codec

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestPrograms reads what the programs write, and has them read ours.
func TestPrograms(t *testing.T) {
	want := content(300_000)
	for _, tt := range []struct {
		codec, program string
		args           []string
	}{
		{"zstd", "zstd", []string{"-c", "-3"}},
		{"zstd", "zstd", []string{"-c", "-19", "--no-check"}},
		{"zstd", "zstd", []string{"-c", "-5", "--long=24"}},
		{"gzip", "gzip", []string{"-c", "-9"}},
		{"xz", "xz", []string{"-c", "-6"}},
		{"xz", "xz", []string{"-c", "-0", "-T2", "--block-size=64KiB"}},
		{"xz", "xz", []string{"-c", "-9e", "--check=crc32"}},
		{"xz", "xz", []string{"-c", "-1", "--check=sha256"}},
		{"xz", "xz", []string{"-c", "-1", "--check=none"}},
		{"lz4", "lz4", []string{"-c", "-9"}},
		{"lz4", "lz4", []string{"-c", "-1", "-BD", "-B4", "--content-size"}},
		{"lz4", "lz4", []string{"-c", "-1", "-BX", "--no-frame-crc"}},
		{"bzip2", "bzip2", []string{"-c", "-1"}},
		{"bzip2", "bzip2", []string{"-c", "-9"}},
	} {
		t.Run(strings.Join(append([]string{tt.program}, tt.args...), " "), func(t *testing.T) {
			file := pipe(t, want, tt.program, tt.args...)
			if got := Detect(file); got != tt.codec {
				t.Errorf("Detect = %q", got)
			}
			got, err := unpack(t, tt.codec, file, Limits{Size: int64(len(want))})
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	for _, name := range []string{"zstd", "gzip"} {
		t.Run("to "+name, func(t *testing.T) {
			if got := pipe(t, pack(t, name, want), name, "-d", "-c"); !bytes.Equal(got, want) {
				t.Errorf("%s gave %d bytes, want %d", name, len(got), len(want))
			}
		})
	}
	t.Run("what is not supported has a name", func(t *testing.T) {
		for _, tt := range []struct {
			codec string
			args  []string
			says  string
		}{
			{"xz", []string{"xz", "-c", "--x86", "--lzma2"}, "xz filter 0x4 x86"},
			{"lz4", []string{"lz4", "-c", "-l"}, "legacy lz4 frame"},
		} {
			_, err := unpack(t, tt.codec, pipe(t, want, tt.args[0], tt.args[1:]...), Limits{Size: AnySize})
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v, want %q", tt.args, err, tt.says)
			}
		}
	})
}

func pipe(t *testing.T, in []byte, program string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("the %s program is not here", program)
	}
	var out, says bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &says
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, says.String())
	}
	return out.Bytes()
}
