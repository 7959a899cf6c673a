package trust

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// cheap keeps tests quick: 1 MiB.
var cheap = cost{1 << 15, 1 << 20}

// random is the same for the same seed.
func random(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func newKey(t testing.TB, seed byte) (Secret, Public) {
	t.Helper()
	s, p, err := NewKey(random(seed))
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "minisign", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func same(a, b Secret) bool {
	return a.Public() == b.Public() && bytes.Equal(a.key().private, b.key().private)
}

func TestKeyFiles(t *testing.T) {
	secret, public := newKey(t, 1)
	back, err := ParsePublic(public.Encode())
	if err != nil || back != public {
		t.Errorf("public key = %v, %v, want %v", back, err, public)
	}
	if back, err = ParsePublic([]byte(public.String())); err != nil || back != public {
		t.Errorf("bare public key = %v, %v, want %v", back, err, public)
	}
	for _, tt := range []struct {
		name     string
		password []byte
		cost     cost
	}{
		{"no password", nil, cheap},
		{"password, memory bound", []byte("pässword"), cheap},
		{"password, time bound", []byte("x"), cost{1 << 17, 32 << 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := secret.encode(tt.password, random(2), tt.cost)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseSecret(text, tt.password)
			if err != nil || !same(got, secret) {
				t.Errorf("key did not survive: %v", err)
			}
			if tt.password == nil {
				return
			}
			for _, wrong := range [][]byte{nil, {}, []byte("wrong")} {
				if _, err := ParseSecret(text, wrong); !errors.Is(err, ErrPassword) {
					t.Errorf("password %q: %v, want ErrPassword", wrong, err)
				}
			}
		})
	}
}

func TestEncodeDefaultCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 256 MiB")
	}
	secret, _ := newKey(t, 1)
	text, err := secret.Encode([]byte("pw"), random(2))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSecret(text, []byte("pw")); err != nil || !same(got, secret) {
		t.Errorf("key did not survive: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	secret, _ := newKey(t, 1)
	short := bytes.NewReader(make([]byte, 31))
	for _, tt := range []struct {
		name   string
		encode func() ([]byte, error)
	}{
		{"an empty password", func() ([]byte, error) { return secret.Encode([]byte{}, random(1)) }},
		{"no key", func() ([]byte, error) { return Secret{}.Encode(nil, nil) }},
		{"too little randomness", func() ([]byte, error) { return secret.encode([]byte("x"), short, cheap) }},
	} {
		if text, err := tt.encode(); err == nil {
			t.Errorf("%s gave %d bytes, want an error", tt.name, len(text))
		}
	}
	if _, _, err := NewKey(bytes.NewReader(make([]byte, 39))); err == nil {
		t.Error("a key was made from 39 random bytes")
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	secret, public := newKey(t, 1)
	seed := secret.key().private[:8]
	asList := strings.Trim(fmt.Sprint(seed), "[]")
	asJSON, err := json.Marshal(struct{ S Secret }{secret})
	if err != nil {
		t.Fatal(err)
	}
	type wrapped struct{ hidden Secret }
	shown := []string{string(asJSON), secret.String(), secret.GoString(), fmt.Sprint(errors.New(secret.String()))}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%p", "%T"} {
		shown = append(shown, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, &secret), fmt.Sprintf(verb, []Secret{secret}),
			fmt.Sprintf(verb, wrapped{secret}), fmt.Sprintf(verb, &wrapped{secret}), fmt.Sprintf(verb, map[string]Secret{"k": secret}))
	}
	for _, text := range shown {
		low := strings.ToLower(text)
		if strings.Contains(low, hex.EncodeToString(seed)) || strings.Contains(text, asList) ||
			strings.Contains(text, base64.StdEncoding.EncodeToString(seed)[:8]) || strings.Contains(text, string(seed)) {
			t.Errorf("the secret key is in %q", text)
		}
	}
	if !strings.Contains(fmt.Sprintf("%v", secret), public.ID()) {
		t.Errorf("%v does not name its key %s", secret, public.ID())
	}
	if got := fmt.Sprint(Secret{}); got != "no secret key" {
		t.Errorf("zero Secret = %q", got)
	}
}

// keyText is a secret key file whose bytes went through change.
func keyText(t testing.TB, change func(raw []byte)) []byte {
	t.Helper()
	secret, _ := newKey(t, 1)
	text, err := secret.encode([]byte("x"), random(2), cheap)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Split(string(text), "\n")[1])
	if err != nil {
		t.Fatal(err)
	}
	change(raw)
	return []byte(untrustedPrefix + "x\n" + base64.StdEncoding.EncodeToString(raw))
}

func TestHostileCostIsRefusedAtOnce(t *testing.T) {
	for _, tt := range []struct{ name, ops, mem string }{
		{"memory", "8000", "40000001"},
		{"terabytes", "8000", "10000000000"},
		{"operations", "2000001", "100000"},
		{"all bits", "ffffffffffffffff", "ffffffffffffffff"},
		{"operations in no memory", "2000000", "0"},
		{"operations in little memory", "2000000", "1000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c cost
			if _, err := fmt.Sscanf(tt.ops+" "+tt.mem, "%x %x", &c.ops, &c.mem); err != nil {
				t.Fatal(err)
			}
			text := keyText(t, func(raw []byte) {
				binary.LittleEndian.PutUint64(raw[atOps:], c.ops)
				binary.LittleEndian.PutUint64(raw[atMem:], c.mem)
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := ParseSecret(text, []byte("x"))
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrKey) || errors.Is(err, ErrPassword) {
				t.Errorf("error = %v, want ErrKey", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; took > time.Second || used > 1<<20 {
				t.Errorf("took %v and %d bytes", took, used)
			}
		})
	}
}

func TestParseSecretRefuses(t *testing.T) {
	plain := func(change func(raw []byte)) []byte {
		return keyText(t, func(raw []byte) {
			secret, _ := newKey(t, 1)
			clear(raw[atKDF:atChecksum])
			copy(raw[atID:], secret.key().id[:])
			copy(raw[atPrivate:], secret.key().private)
			sum := secretSum(raw)
			copy(raw[atSum:], sum[:])
			change(raw)
		})
	}
	if _, err := ParseSecret(plain(func([]byte) {}), nil); err != nil {
		t.Fatalf("unchanged key: %v", err)
	}
	zero := func(raw []byte) { clear(raw[atSum:]) }
	for _, tt := range []struct {
		name, want string
		text       []byte
	}{
		{"empty", "expected two", nil},
		{"no comment", "expected two", []byte("RWQAAEIy")},
		{"three lines", "expected two", append(plain(zero), "\nx"...)},
		{"too long", "at most", make([]byte, maxFile+1)},
		{"a public key", "expected 158", []byte(untrustedPrefix + "x\nRWSDa5H6jBcirhmgHEqBPtLiDsw5DGaR6IrHI2QYWYpnbLzzV4b5ZABx")},
		{"not base64", "not base64", []byte(untrustedPrefix + "x\n****")},
		{"another algorithm", "algorithms", plain(func(raw []byte) { raw[0] = 'X' })},
		{"another checksum", "algorithms", plain(func(raw []byte) { raw[atChecksum] = 'X' })},
		{"another encryption", "encrypted with", plain(func(raw []byte) { raw[atKDF] = 'X' })},
		{"a changed id", "checksum", plain(func(raw []byte) { raw[atID]++ })},
		{"a changed seed", "two halves", plain(func(raw []byte) { zero(raw); raw[atPrivate]++ })},
		{"a changed public half", "two halves", plain(func(raw []byte) { zero(raw); raw[atSum-1]++ })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseSecret(tt.text, nil); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want ErrKey with %q", err, tt.want)
			}
		})
	}
}

func TestParsePublicRefuses(t *testing.T) {
	_, public := newKey(t, 1)
	line := public.String()
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "holds 0 bytes"},
		{"a comment alone", untrustedPrefix + "x\n", "not base64"},
		{"junk after it", string(public.Encode()) + "junk\n", "expected two"},
		{"another comment", "comment\n" + line, "expected two"},
		{"too short", line[:52], "expected 42"},
		{"another algorithm", "Q" + line[1:], "algorithm"},
		{"a second spelling of the last byte", line[:55] + string(line[55]+1), ""},
		{"too long", strings.Repeat("A", maxFile+1), "at most"},
		{"a carriage return inside", line[:10] + "\r" + line[10:], "carriage return"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePublic([]byte(tt.text))
			if tt.want == "" {
				if err == nil && got == public {
					t.Error("two spellings give the same key")
				}
				return
			}
			if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want ErrKey with %q", err, tt.want)
			}
		})
	}
	if got, err := ParsePublic([]byte(untrustedPrefix + "x\r\n" + line + "\r\n\r\n")); err != nil || got != public {
		t.Errorf("key with line ends of another system: %v", err)
	}
}

func FuzzParsePublic(f *testing.F) {
	_, public := newKey(f, 1)
	f.Add(public.Encode())
	f.Add([]byte(public.String()))
	f.Add([]byte("untrusted comment: \nRWQ"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePublic(text)
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Fatalf("error = %v", err)
			}
			return
		}
		if back, err := ParsePublic(p.Encode()); err != nil || back != p {
			t.Fatalf("%v came back as %v, %v", p, back, err)
		}
	})
}

func FuzzParseSecret(f *testing.F) {
	secret, _ := newKey(f, 1)
	for _, password := range []string{"", "x"} {
		text, err := secret.encode([]byte("x"), random(2), cost{1 << 15, 1 << 14})
		if password == "" {
			text, err = secret.encode(nil, nil, cheap)
		}
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte(password))
	}
	f.Add([]byte("untrusted comment: \nRWQ"), []byte(nil))
	f.Fuzz(func(t *testing.T, text, password []byte) {
		s, err := parseSecret(text, password, cost{1 << 16, 1 << 20})
		if err != nil {
			if !errors.Is(err, ErrKey) && !errors.Is(err, ErrPassword) {
				t.Fatalf("error = %v", err)
			}
			return
		}
		again, err := s.Encode(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseSecret(again, nil); err != nil || !same(back, s) {
			t.Fatalf("key came back changed: %v", err)
		}
	})
}
