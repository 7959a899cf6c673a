package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestDigestGoesOn(t *testing.T) {
	data := []byte(strings.Repeat("0123456789", 20))
	sum := sha256.Sum256(data)
	want := hex.EncodeToString(sum[:])
	for cut := range len(data) + 1 {
		first := NewDigest()
		_, _ = first.Write(data[:cut])
		state, err := first.State()
		if err != nil {
			t.Fatal(err)
		}
		second, err := RestoreDigest(state)
		if err != nil {
			t.Fatal(err)
		}
		_ = second.Sum() // does not disturb what follows
		_, _ = second.Write(data[cut:])
		_, _ = first.Write(data[cut:])
		if first.Sum() != want || second.Sum() != want {
			t.Errorf("cut at %d: %s and %s, want %s", cut, first.Sum(), second.Sum(), want)
		}
	}
	state, err := NewDigest().State()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, state[:len(state)-1], append(state, 0), []byte(strings.Repeat("x", len(state)))} {
		if _, err := RestoreDigest(bad); !errors.Is(err, ErrState) {
			t.Errorf("state of %d bytes: %v, want ErrState", len(bad), err)
		}
	}
}

func TestParseSHA256(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	text := hex.EncodeToString(sum[:])
	if got, err := ParseSHA256(text); err != nil || got != sum {
		t.Errorf("ParseSHA256 = %x, %v, want %x", got, err, sum)
	}
	for _, bad := range []string{"", text[1:], text + "0", strings.ToUpper(text), text[:63] + "g", text[:62] + "é", "0x" + text[2:], " " + text[1:]} {
		if got, err := ParseSHA256(bad); !errors.Is(err, ErrUntrusted) {
			t.Errorf("ParseSHA256(%q) = %x, %v, want ErrUntrusted", bad, got, err)
		}
	}
}
