package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The numbers of link.h.
const (
	block       = 256
	maxPayload  = 4 + block
	headSize    = 5
	versionSize = 24
	ack         = 0x06
	nak         = 0x15
	refused     = 0x18
)

const magic = "MCU1"

// part is a microcontroller: flash, and either a boot loader or an image that
// runs. It is used by one goroutine.
type part struct {
	flash  []byte
	size   int // of the valid image, 0 for none
	loader bool

	// changed gets the valid image, empty for none, whenever it becomes
	// another one. It may be nil.
	changed func(image []byte) error
}

// newPart gives a microcontroller with an image in flash, or with none.
func newPart(room int, image []byte) (*part, error) {
	p := &part{flash: bytes.Repeat([]byte{0xff}, room)}
	if len(image) > room {
		return nil, fmt.Errorf("the image has %d bytes, the flash %d", len(image), room)
	}
	if len(image) > 0 && !valid(image) {
		return nil, fmt.Errorf("it is no image: want %q and a version of %d bytes at its begin", magic, versionSize)
	}
	p.size = copy(p.flash, image)
	p.boot()
	return p, nil
}

func valid(image []byte) bool {
	return len(image) >= len(magic)+versionSize && bytes.HasPrefix(image, []byte(magic))
}

// boot is what happens at power on.
func (p *part) boot() { p.loader = p.size == 0 }

// no is why a request is refused.
type no string

func (n no) Error() string { return string(n) }

// answer does what a request wants and gives the payload of the reply. An
// error that is no [no] is one of the simulation.
func (p *part) answer(command byte, payload []byte) ([]byte, error) {
	switch command {
	case 'Q':
		return p.query(), nil
	case 'R':
		return p.read(payload)
	case 'B':
		p.loader = true
		return nil, nil
	case 'E':
		if !p.loader {
			return nil, no("the image runs: enter the boot loader first")
		}
		return nil, p.is(0)
	case 'W':
		return nil, p.write(payload)
	case 'G':
		return nil, p.run(payload)
	}
	return nil, no("unknown command")
}

func (p *part) query() []byte {
	mode := byte('A')
	if p.loader {
		mode = 'B'
	}
	out := []byte{mode}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(p.flash)))
	out = binary.LittleEndian.AppendUint32(out, uint32(p.size))
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(p.flash[:p.size]))
	if p.size > 0 {
		return append(out, p.flash[len(magic):len(magic)+versionSize]...)
	}
	return append(out, make([]byte, versionSize)...)
}

func (p *part) read(payload []byte) ([]byte, error) {
	if len(payload) != 6 {
		return nil, no("read wants an offset and a size")
	}
	off, n := int64(binary.LittleEndian.Uint32(payload)), int64(binary.LittleEndian.Uint16(payload[4:]))
	if n > block || off+n > int64(len(p.flash)) {
		return nil, no("there is no such flash")
	}
	return p.flash[off : off+n], nil
}

func (p *part) write(payload []byte) error {
	if len(payload) <= 4 {
		return no("write wants an offset and bytes")
	}
	off, data := int64(binary.LittleEndian.Uint32(payload)), payload[4:]
	switch {
	case !p.loader || p.size > 0:
		return no("there is a valid image: enter the boot loader and erase first")
	case off%block != 0 || off+block > int64(len(p.flash)):
		return no("there is no such block of flash")
	}
	at := p.flash[off : off+block]
	for i := copy(at, data); i < block; i++ {
		at[i] = 0xff
	}
	return nil
}

func (p *part) run(payload []byte) error {
	if len(payload) != 8 {
		return no("run wants a size and a CRC")
	}
	size, crc := int64(binary.LittleEndian.Uint32(payload)), binary.LittleEndian.Uint32(payload[4:])
	if size > int64(len(p.flash)) || !valid(p.flash[:size]) || crc32.ChecksumIEEE(p.flash[:size]) != crc {
		return no("the image in flash is not whole")
	}
	err := p.is(int(size))
	p.boot()
	return err
}

// is makes the first size bytes of flash the valid image.
func (p *part) is(size int) error {
	if size == p.size || p.changed == nil {
		p.size = size
		return nil
	}
	p.size = size
	return p.changed(p.flash[:size])
}

// frame makes a request or a reply: first is 0x55 or 0xAA, kind the command or status.
func frame(first, kind, number byte, payload []byte) []byte {
	out := append([]byte{first, kind, number, byte(len(payload)), byte(len(payload) >> 8)}, payload...)
	return binary.LittleEndian.AppendUint16(out, crc16(out[1:]))
}

// crc16 is CRC-16/XMODEM.
func crc16(b []byte) (crc uint16) {
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			top := crc & 0x8000
			if crc <<= 1; top != 0 {
				crc ^= 0x1021
			}
		}
	}
	return crc
}

// errPartial says that a frame is not there yet.
var errPartial = errors.New("more bytes are needed")

// errDamaged says that a frame is there and wrong.
var errDamaged = errors.New("the frame is damaged")

// request finds the request at the begin of b, behind what is none.
func request(b []byte) (command, number byte, payload []byte, err error) {
	at := bytes.IndexByte(b, 0x55)
	if at < 0 || len(b)-at < headSize {
		return 0, 0, nil, errPartial
	}
	b = b[at:]
	size := int(binary.LittleEndian.Uint16(b[3:]))
	if size > maxPayload {
		return 0, b[2], nil, errDamaged
	}
	end := headSize + size
	if len(b) < end+2 {
		return 0, 0, nil, errPartial
	}
	if crc16(b[1:end]) != binary.LittleEndian.Uint16(b[end:]) {
		return 0, b[2], nil, errDamaged
	}
	return b[1], b[2], b[headSize:end], nil
}
