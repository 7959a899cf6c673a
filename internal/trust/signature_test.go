package trust

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

const message = "the data that is signed"

func sign(t testing.TB, key Secret, data, trusted string) []byte {
	t.Helper()
	text, err := Sign(strings.NewReader(data), key, trusted, "")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSignAndVerify(t *testing.T) {
	key, public := newKey(t, 1)
	_, other := newKey(t, 2)
	for _, tt := range []struct{ name, data, trusted string }{
		{"text", message, "timestamp:1\tfile:x"},
		{"no data", "", "x"},
		{"no comment", message, ""},
		{"a megabyte", strings.Repeat("0123456789abcdef", 65536), "grüße"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := sign(t, key, tt.data, tt.trusted)
			want := Checked{Key: public, TrustedComment: tt.trusted}
			got, err := Verify(iotest.HalfReader(strings.NewReader(tt.data)), text, []Public{other, public})
			if err != nil || got != want {
				t.Errorf("Verify = %v, %v, want %v", got, err, want)
			}
			h := Prehash()
			_, _ = io.WriteString(h, tt.data)
			got, err = VerifyDigest(h.Sum(nil), text, []Public{public})
			if err != nil || got != want {
				t.Errorf("VerifyDigest = %v, %v, want %v", got, err, want)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	key, public := newKey(t, 1)
	_, stranger := newKey(t, 2)
	namesake := stranger // another key that happens to have the same id
	namesake.id = public.id
	good := string(sign(t, key, message, "x"))
	lines := strings.SplitAfter(good, "\n")
	elsewhere := strings.SplitAfter(string(sign(t, key, message, "y")), "\n")
	replace := func(i int, line string) string {
		return strings.Join(lines[:i], "") + line + strings.Join(lines[i+1:], "")
	}
	legacyForm, err := base64.StdEncoding.DecodeString(strings.TrimSpace(lines[1]))
	if err != nil {
		t.Fatal(err)
	}
	legacyForm[1] = 'd'

	for _, tt := range []struct {
		name, data, text, want string
		keys                   []Public
	}{
		{"other data", message + "!", good, "not of this data", []Public{public}},
		{"unknown key", message, good, "unknown key " + public.ID(), []Public{stranger}},
		{"a key of the same id", message, good, "not of this data", []Public{namesake}},
		{"no keys", message, good, "no keys", nil},
		{"no signature", message, "", "expected 4", []Public{public}},
		{"the legacy form", message, replace(1, base64.StdEncoding.EncodeToString(legacyForm)+"\n"), "minisign -S -H", []Public{public}},
		{"a changed trusted comment", message, replace(2, "trusted comment: z\n"), "trusted comment was changed", []Public{public}},
		{"a comment of another signature", message, replace(2, elsewhere[2]), "trusted comment was changed", []Public{public}},
		{"a foreign comment signature", message, replace(3, elsewhere[3]), "trusted comment was changed", []Public{public}},
		{"no prefix", message, replace(0, "comment\n"), "line 1 does not start", []Public{public}},
		{"no trusted prefix", message, replace(2, "comment: x\n"), "line 3 does not start", []Public{public}},
		{"a terminal escape", message, replace(0, "untrusted comment: \x1b[2J\n"), "control character U+001B", []Public{public}},
		{"a text transfer", message, strings.ReplaceAll(good, "\n", "\r\n"), "line 1 contains the control character U+000D", []Public{public}},
		{"a carriage return", message, replace(1, strings.Replace(lines[1], "\n", "\r\n", 1)), "carriage return", []Public{public}},
		{"junk after it", message, good + "x", "5 lines", []Public{public}},
		{"an empty line after it", message, good + "\n", "5 lines", []Public{public}},
		{"a line missing", message, strings.Join(lines[:3], ""), "3 lines", []Public{public}},
		{"too long", message, strings.Repeat("x", maxFile+1), "at most", []Public{public}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Verify(strings.NewReader(tt.data), []byte(tt.text), tt.keys)
			if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), tt.want) || got != (Checked{}) {
				t.Errorf("Verify = %v, %v, want ErrUntrusted with %q", got, err, tt.want)
			}
		})
	}
	if _, err := Verify(strings.NewReader(message), []byte(good), []Public{namesake, public}); err != nil {
		t.Errorf("the right key after one of the same id: %v", err)
	}
	if _, err := VerifyDigest(make([]byte, 32), []byte(good), []Public{public}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a digest of 32 bytes: %v", err)
	}
}

// Each byte of a signature file is changed in each bit, left out, and
// doubled. Only the untrusted comment may change without being noticed.
func TestDamagedSignatureIsNeverAccepted(t *testing.T) {
	key, public := newKey(t, 1)
	good := sign(t, key, message, "timestamp:1")
	_, signed, _ := bytes.Cut(good, []byte("\n"))
	accepted, refused := 0, 0
	try := func(i int, text []byte) {
		t.Helper()
		_, err := Verify(strings.NewReader(message), text, []Public{public})
		first, rest, _ := bytes.Cut(text, []byte("\n"))
		switch {
		case err == nil && bytes.Equal(rest, signed) && bytes.HasPrefix(first, []byte(untrustedPrefix)):
			accepted++
		case err == nil && bytes.Equal(text, good[:len(good)-1]): // only the last line end is missing
		case err == nil:
			t.Errorf("accepted with byte %d changed: %q", i, text)
		case !errors.Is(err, ErrUntrusted):
			t.Errorf("byte %d: %v", i, err)
		default:
			refused++
		}
	}
	for i := range good {
		for bit := range 8 {
			text := bytes.Clone(good)
			text[i] ^= 1 << bit
			try(i, text)
		}
		try(i, append(bytes.Clone(good[:i]), good[i+1:]...))
		try(i, append(append(bytes.Clone(good[:i]), good[i]), good[i:]...))
	}
	if accepted == 0 || refused < 9*len(signed) {
		t.Errorf("%d accepted and %d refused: the test tried too little", accepted, refused)
	}
	t.Logf("%d bytes: %d changes accepted, all in the untrusted comment; %d refused", len(good), accepted, refused)
}

func TestReadErrorIsReturned(t *testing.T) {
	key, public := newKey(t, 1)
	broken := errors.New("broken")
	_, err := Verify(iotest.ErrReader(broken), sign(t, key, message, ""), []Public{public})
	if !errors.Is(err, broken) || errors.Is(err, ErrUntrusted) {
		t.Errorf("Verify = %v, want the reader's error", err)
	}
	if _, err = Sign(iotest.ErrReader(broken), key, "", ""); !errors.Is(err, broken) {
		t.Errorf("Sign = %v, want the reader's error", err)
	}
	// A signature that cannot be good costs no reading.
	_, stranger := newKey(t, 2)
	if _, err = Verify(iotest.ErrReader(broken), sign(t, key, message, ""), []Public{stranger}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Verify = %v, want ErrUntrusted", err)
	}
}

func TestSignRefuses(t *testing.T) {
	key, _ := newKey(t, 1)
	for _, tt := range []struct {
		name, trusted, untrusted, want string
		key                            Secret
	}{
		{"no key", "", "", "no secret key", Secret{}},
		{"a second line", "a\nb", "", "trusted comment contains", key},
		{"text that reads backwards", "", "a\u202eb", "untrusted comment contains", key},
		{"broken text", "\xff", "", "not UTF-8", key},
		{"a long comment", strings.Repeat("x", maxTrusted+1), "", "at most 8000", key},
		{"a long untrusted comment", "", strings.Repeat("x", maxUntrusted+1), "at most 1000", key},
	} {
		_, err := Sign(strings.NewReader(message), tt.key, tt.trusted, tt.untrusted)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	text, err := Sign(strings.NewReader(message), key, strings.Repeat("x", maxTrusted), strings.Repeat("x", maxUntrusted))
	if err != nil || len(text) > maxFile {
		t.Errorf("the longest comments: %d bytes, %v", len(text), err)
	}
}

func TestVerifyMemory(t *testing.T) {
	key, public := newKey(t, 1)
	zeros := func() io.Reader { return io.LimitReader(zeroReader{}, 64<<20) }
	text, err := Sign(zeros(), key, "", "")
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Verify(zeros(), text, []Public{public}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<10 {
		t.Errorf("64 MiB took %d bytes, want at most 256 KiB", got)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func FuzzVerify(f *testing.F) {
	key, public := newKey(f, 1)
	good := sign(f, key, message, "timestamp:1")
	f.Add(good, []byte(message))
	f.Add(good[:100], []byte(""))
	f.Add([]byte("untrusted comment: \n\ntrusted comment: \n\n"), []byte("x"))
	f.Fuzz(func(t *testing.T, text, data []byte) {
		got, err := Verify(bytes.NewReader(data), text, []Public{public})
		if err != nil {
			if !errors.Is(err, ErrUntrusted) {
				t.Fatalf("error = %v", err)
			}
			return
		}
		if string(data) != message || got.TrustedComment != "timestamp:1" {
			t.Fatalf("a forged signature was accepted: %q", text)
		}
	})
}
