package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
)

// image makes an image of n bytes that look random.
func image(version string, n int) []byte {
	b := fmt.Appendf(nil, "%s%-*s", magic, versionSize, version)
	for x := crc32.ChecksumIEEE(b); len(b) < n; x = x*1664525 + 1013904223 {
		b = append(b, byte(x>>24))
	}
	return b
}

func u32(n ...int) (b []byte) {
	for _, n := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return b
}

func TestCRC16(t *testing.T) {
	if got := crc16([]byte("123456789")); got != 0x31c3 {
		t.Errorf("crc16 = %#04x, want 0x31c3, the check value of CRC-16/XMODEM", got)
	}
}

func TestPartAnswers(t *testing.T) {
	const room = 4 * block
	old, other := image("1", 300), image("2", 200)
	crc := func(b []byte) int { return int(crc32.ChecksumIEEE(b)) }
	written := func(p *part) {
		p.loader, p.size = true, 0
		copy(p.flash, other)
	}
	for _, tt := range []struct {
		name    string
		before  func(*part)
		command byte
		payload []byte
		refused string
		loader  bool // afterwards
		size    int  // of the valid image, afterwards
	}{
		{name: "a query changes nothing", command: 'Q', size: 300},
		{name: "the boot loader keeps the image", command: 'B', loader: true, size: 300},
		{name: "an image that runs is not erased", command: 'E', refused: "boot loader first", size: 300},
		{name: "the boot loader erases", before: func(p *part) { p.loader = true }, command: 'E', loader: true},
		{name: "a valid image is not written into", before: func(p *part) { p.loader = true }, command: 'W', payload: u32(0, 1), refused: "erase first", loader: true, size: 300},
		{name: "a block", before: written, command: 'W', payload: u32(block, 1), loader: true},
		{name: "half a block further", before: written, command: 'W', payload: u32(block/2, 1), refused: "no such block", loader: true},
		{name: "behind the end", before: written, command: 'W', payload: u32(room, 1), refused: "no such block", loader: true},
		{name: "nothing to write", before: written, command: 'W', payload: u32(0), refused: "wants", loader: true},
		{name: "run what was written", before: written, command: 'G', payload: u32(200, crc(other)), size: 200},
		{name: "run another size", before: written, command: 'G', payload: u32(201, crc(other)), refused: "not whole", loader: true},
		{name: "run more than there is", before: written, command: 'G', payload: u32(1<<31, 0), refused: "not whole", loader: true},
		{name: "run what runs", command: 'G', payload: u32(300, crc(old)), size: 300},
		{name: "run without a CRC", command: 'G', payload: u32(300), refused: "wants", size: 300},
		{name: "read behind the end", command: 'R', payload: append(u32(room-1), 2, 0), refused: "no such flash", size: 300},
		{name: "read nowhere", command: 'R', payload: u32(0), refused: "wants", size: 300},
		{name: "something else", command: 'Z', refused: "unknown", size: 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newPart(room, old)
			if err != nil {
				t.Fatal(err)
			}
			if tt.before != nil {
				tt.before(p)
			}
			_, err = p.answer(tt.command, tt.payload)
			var why no
			if refused := errors.As(err, &why); refused != (tt.refused != "") || !strings.Contains(string(why), tt.refused) || err != nil && !refused {
				t.Errorf("error = %v, want %q", err, tt.refused)
			}
			if p.loader != tt.loader || p.size != tt.size {
				t.Errorf("boot loader %v and %d bytes, want %v and %d", p.loader, p.size, tt.loader, tt.size)
			}
		})
	}
}

func TestNewPartRefuses(t *testing.T) {
	for name, image := range map[string][]byte{"too large": image("1", 5*block), "no image": make([]byte, 100), "too short": []byte(magic)} {
		if _, err := newPart(4*block, image); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRequest(t *testing.T) {
	whole := frame(0x55, 'W', 7, []byte{1, 2, 3})
	for n := range whole {
		if _, _, _, err := request(whole[:n]); !errors.Is(err, errPartial) {
			t.Errorf("%d bytes of a request: %v, want that more are needed", n, err)
		}
	}
	command, number, payload, err := request(append([]byte{0, 0xaa}, whole...))
	if command != 'W' || number != 7 || !bytes.Equal(payload, []byte{1, 2, 3}) || err != nil {
		t.Errorf("%c %d %v, %v", command, number, payload, err)
	}
	for at := 1; at < len(whole); at++ {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x10
		if _, _, _, err := request(bad); err == nil {
			t.Errorf("byte %d is wrong, and nobody sees it", at)
		}
	}
}
