package reference

import (
	"math/rand/v2"
	"testing"
)

// riscvNoise is code in which little makes sense, with data that has addresses.
func riscvNoise(r *rand.Rand, n int) []byte {
	code := make([]byte, n)
	for i := 0; i+2 <= n; i += 2 {
		little.PutUint16(code[i:], uint16(r.Uint32())&^uint16(r.IntN(2)))
	}
	for i := 0; i+32 < n; i += 2 * (1 + r.IntN(9)) {
		switch r.IntN(3) {
		case 0:
			little.PutUint32(code[i:], 0xEF|uint32(r.IntN(n/4096+1))<<12)
		case 1:
			reg := 1 + r.Uint32N(31)
			little.PutUint32(code[i:], 0x17|reg<<7|uint32((constAddr-codeAddr)>>12)<<12)
			if r.IntN(2) == 0 {
				little.PutUint16(code[i+4:], 1)
				i += 2
			}
			little.PutUint32(code[i+4:], []uint32{0x13, 0x3003, 0x3023, 0x67}[r.IntN(4)]|reg<<15|r.Uint32N(100)<<25)
		}
	}
	data := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		little.PutUint64(data[i:], uint64(codeAddr+r.IntN(n)))
	}
	return image(machineRiscv, elfShared, codePiece(code), constPiece(".rodata", fill(8192)), dataPiece(data))
}

func TestScanFindsRiscv(t *testing.T) {
	hi := uint32((constAddr - codeAddr) >> 12 << 12)
	b := image(machineRiscv, elfShared, codePiece(join(
		words(0x008000EF),                    // JAL, 8 forwards
		halves(0x0001),                       // C.NOP
		words(0x00000097|hi, 0x03C08093),     // AUIPC, ADDI
		words(0x00000117|hi), halves(0x0001), // AUIPC
		words(0x00113423, 0x00113823), // SD, SD
		words(0x00000197|hi, 0x00000197|hi, 0, // AUIPC to be forgotten, and one that nothing completes
			0x700000EF, 0x00B50863), // JAL to nowhere, BEQ
		halves(0xA031), // C.J
		make([]byte, 128))), constPiece(".rodata", fill(4096)))
	want := ".text+0:Jump20 .text+6:Pair32 .text+14:Pair32 .text+44:Branch12 .text+48:Short16"
	if got := found(mustParse(t, b), b); got != want {
		t.Errorf("fields = %s\nwant     %s", got, want)
	}
}

// TestRiscvValues compares with what an assembler makes of known distances.
func TestRiscvValues(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    Field
		b    []byte
		to   uint64
	}{
		{"JAL forwards", Field{Kind: Jump20}, words(0x008000EF), 0x10008},
		{"JAL to itself", Field{Kind: Jump20}, words(0x0000006F), 0x10000},
		{"JAL backwards", Field{Kind: Jump20}, words(0xFF9FF06F), 0xFFF8},
		{"JAL over 4 KiB", Field{Kind: Jump20}, words(0x0010106F), 0x11800},
		{"BEQ forwards", Field{Kind: Branch12}, words(0x00B50863), 0x10010},
		{"BNE backwards", Field{Kind: Branch12}, words(0xFEB51CE3), 0xFFF8},
		{"C.J forwards", Field{Kind: Short16, Aux: 1}, halves(0xA031), 0x1000C},
		{"C.J to itself", Field{Kind: Short16, Aux: 1}, halves(0xA001), 0x10000},
		{"C.BEQZ backwards", Field{Kind: Short16, Aux: 1}, halves(0xDD75), 0xFFFC},
		{"AUIPC and ADDI", Field{Kind: Pair32, Aux: 4}, words(0x00001517, 0x01050513), 0x11010},
		{"AUIPC and a low part below zero", Field{Kind: Pair32, Aux: 4}, words(0x00001517, 0xFF050513), 0x10FF0},
		{"AUIPC and SD", Field{Kind: Pair32, Aux: 4}, words(0x00001517, 0x00B53423), 0x11008},
		{"AUIPC and SD backwards", Field{Kind: Pair32, Aux: 4}, words(0xFFFFF517, 0xFEB53C23), 0xEFF8},
	} {
		if got := tt.f.value(tt.b, tt.b, 0x10000); got != tt.to {
			t.Errorf("%s: target = %#x, want %#x", tt.name, got, tt.to)
		}
	}
}
