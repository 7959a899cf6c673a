package wasmhost

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// A tar as POSIX.1-2017 (pax) and GNU tar write it: blocks of 512 bytes, a head
// and then the content of each member, zeros at the end. Long names come in
// a member of their own before the one that they are for. Sparse files are
// special here. The reader is our own since the one of the standard library
// brings half a dozen formats of sparse files and the system's users with it.

var errTar = errors.New("damaged tar")

const (
	tarBlock  = 512
	tarExtras = 1 << 20 // bytes of a name or of records that come before a member
)

// The types of members that matter.
const (
	tarFile, tarOldFile, tarFolder = '0', 0, '5'
	tarRecords, tarGlobal          = 'x', 'g'
	tarLongName, tarLongLink       = 'L', 'K'
)

// tarReader goes through a tar.
type tarReader struct {
	r    io.Reader
	left int64 // bytes of the member's content that are still to come
	pad  int64 // zeros behind them
}

// Read gives the content of the member.
func (t *tarReader) Read(b []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n, err := t.r.Read(b[:min(int64(len(b)), t.left)])
	t.left -= int64(n)
	if err == io.EOF && t.left > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}

// next gives the next member. What comes before it for it alone, such as a
// long name, is taken into account.
func (t *tarReader) next() (found, error) {
	name, size, sparse := "", int64(-1), false
	for {
		h, err := t.head()
		if err != nil {
			return found{}, err
		}
		switch h[156] {
		case tarGlobal, tarLongLink:
			continue // remarks, and where a link leads: links are refused anyway
		case tarLongName:
			text, err := t.extras()
			if err != nil {
				return found{}, err
			}
			name = cString(text)
		case tarRecords:
			text, err := t.extras()
			if err != nil {
				return found{}, err
			}
			if name, size, sparse, err = tarExtended(text, name); err != nil {
				return found{}, err
			}
		default:
			return t.member(h, name, size, sparse)
		}
	}
}

// member makes a member of its head and of what came before it.
func (t *tarReader) member(h []byte, name string, size int64, sparse bool) (found, error) {
	mode, err := tarNumber(h[100:108])
	if err != nil {
		return found{}, err
	}
	if name == "" {
		name = cString(h[:100])
		// GNU's own variant has other things there.
		if prefix := cString(h[345:500]); prefix != "" && string(h[257:263]) == "ustar\x00" {
			name = prefix + "/" + name
		}
	}
	if size >= 0 {
		t.extent(size)
	}
	f := found{raw: name, kind: special, perm: fs.FileMode(mode) & fs.ModePerm, odd: mode&0o6000 != 0, size: t.left,
		body: func() (io.Reader, error) { return t, nil }}
	switch typ := h[156]; {
	case sparse:
	case typ == tarFolder, typ == tarOldFile && strings.HasSuffix(name, "/"):
		f.kind = folder
	case typ == tarFile, typ == tarOldFile:
		f.kind = regular
	}
	if h[156] >= '1' && h[156] <= '6' { // links, devices, folders and pipes have no content, whatever stands there
		t.extent(0)
		f.size = 0
	}
	return f, nil
}

// extent sets how long the content is.
func (t *tarReader) extent(size int64) { t.left, t.pad = size, -size&(tarBlock-1) }

// head passes over what is left of the member before, and reads the next head.
func (t *tarReader) head() ([]byte, error) {
	if n, err := io.CopyN(io.Discard, t.r, t.left); err != nil || n < t.left {
		return nil, short(err)
	}
	// The last padding may be missing.
	if _, err := io.CopyN(io.Discard, t.r, t.pad); err != nil {
		return nil, err
	}
	t.extent(0)
	h := make([]byte, tarBlock)
	for zeros := 0; ; zeros++ {
		if _, err := io.ReadFull(t.r, h); err != nil {
			return nil, err // io.EOF at the edge of a block is an end too
		}
		if bytes.Count(h, []byte{0}) < tarBlock {
			if zeros > 0 {
				return nil, fmt.Errorf("%w: a member behind the end", errTar)
			}
			break
		}
		if zeros == 1 {
			return nil, io.EOF
		}
	}
	if err := tarSum(h); err != nil {
		return nil, err
	}
	size, err := tarNumber(h[124:136])
	if err != nil {
		return nil, err
	}
	t.extent(size)
	return h, nil
}

func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// extras reads the content of a member that is for the next one.
func (t *tarReader) extras() ([]byte, error) {
	if t.left > tarExtras {
		return nil, fmt.Errorf("%w: %d bytes before a member", errTar, t.left)
	}
	b := make([]byte, t.left)
	_, err := io.ReadFull(t, b)
	return b, short(err)
}

// tarSum checks the sum of a head, of which its own field counts as spaces.
func tarSum(h []byte) error {
	want, err := tarNumber(h[148:156])
	if err != nil {
		return err
	}
	sum := int64(8 * ' ')
	for i, b := range h {
		if i < 148 || i >= 156 {
			sum += int64(b)
		}
	}
	if sum != want {
		return fmt.Errorf("%w: the sum of a head is wrong", errTar)
	}
	return nil
}

// tarNumber reads octal digits, or with the highest bit set a binary number.
func tarNumber(b []byte) (int64, error) {
	if b[0] == 0x80 {
		rest := b[max(1, len(b)-8):]
		if len(bytes.Trim(b[1:len(b)-len(rest)], "\x00")) > 0 {
			return 0, fmt.Errorf("%w: a number is too large", errTar)
		}
		var wide [8]byte
		copy(wide[8-len(rest):], rest)
		if n := binary.BigEndian.Uint64(wide[:]); n < 1<<62 {
			return int64(n), nil
		}
		return 0, fmt.Errorf("%w: a number is too large", errTar)
	}
	text := strings.Trim(string(b), " \x00")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 8, 62)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no number", errTar, text)
	}
	return int64(n), nil
}

// tarExtended reads records, each "LENGTH KEY=VALUE\n" with its whole length.
func tarExtended(text []byte, before string) (name string, size int64, sparse bool, err error) {
	name, size = before, -1
	for len(text) > 0 {
		digits, _, ok := strings.Cut(string(text[:min(len(text), 20)]), " ")
		n, wrong := strconv.Atoi(digits)
		if !ok || wrong != nil || n <= len(digits)+1 || n > len(text) || text[n-1] != '\n' {
			return "", 0, false, fmt.Errorf("%w: a record is not as long as it says", errTar)
		}
		key, value, ok := strings.Cut(string(text[len(digits)+1:n-1]), "=")
		text = text[n:]
		switch {
		case !ok:
			return "", 0, false, fmt.Errorf("%w: a record without a value", errTar)
		case key == "path":
			name = value
		case key == "size":
			if size, err = strconv.ParseInt(value, 10, 62); err != nil || size < 0 {
				return "", 0, false, fmt.Errorf("%w: size %q", errTar, value)
			}
		case strings.HasPrefix(key, "GNU.sparse."):
			sparse = true
		}
	}
	return name, size, sparse, nil
}

// cString is the text up to the first zero.
func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}
