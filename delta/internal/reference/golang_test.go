package reference

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// oldGoTable is a table of n Go functions in the layout that magic stands for,
// with addresses of word bytes.
func oldGoTable(r *rand.Rand, n, word int, magic uint32) piece {
	const names, units, files, pcs, index = 72, 200, 280, 300, 400
	put := func(b []byte, v ...uint64) []byte {
		for _, x := range v {
			if word == 4 {
				b = little.AppendUint32(b, uint32(x))
			} else {
				b = little.AppendUint64(b, x)
			}
		}
		return b
	}
	legacy := magic == goMagic116
	step, start := 4, uint64(0)
	h := append(words(magic), 0, 0, 1, byte(word))
	h = put(h, uint64(n), 1)
	if legacy {
		step, start = word, codeAddr
	} else {
		h = put(h, codeAddr)
	}
	h = put(h, names, units, files, pcs, index)
	b := make([]byte, index+2*step*n)
	copy(b, h)
	for i := range n {
		for len(b)%word != 0 {
			b = append(b, 0)
		}
		entry := put(nil, start+uint64(16*i))[:step]
		copy(b[index+2*step*i:], entry)
		little.PutUint32(b[index+2*step*i+step:], uint32(len(b)-index))
		tables, datas := r.IntN(4), r.IntN(4)
		b = append(append(b, entry...), words(r.Uint32N(100), 8, 0, r.Uint32N(90), r.Uint32N(90), r.Uint32N(90), uint32(tables), r.Uint32N(9))...)
		if magic == goMagic120 {
			b = append(b, words(1)...)
		}
		b = append(b, words(uint32(datas)<<24)...)
		for range tables {
			b = append(b, words(1+r.Uint32N(89))...)
		}
		for legacy && len(b)%word != 0 {
			b = append(b, 0)
		}
		for range datas {
			if legacy {
				b = put(b, codeAddr+8)
			} else {
				b = append(b, words(r.Uint32N(90))...)
			}
		}
	}
	return piece{name: ".gopclntab", kind: 1, flags: sectionLoaded, addr: 0x4E0000, data: b}
}

func TestScanFindsGoFunctionsOfEachVersion(t *testing.T) {
	for _, tt := range []struct {
		name  string
		magic uint32
		word  int
		want  string
	}{
		{"1.20", goMagic120, 8, ".gopclntab+400:Base32 .gopclntab+404:Offset .gopclntab+408:Base32 .gopclntab+412:Offset .gopclntab+416:Base32 .gopclntab+420:Name"},
		{"1.20 in 32 bits", goMagic120, 4, ".gopclntab+400:Base32 .gopclntab+404:Offset .gopclntab+408:Base32 .gopclntab+412:Offset .gopclntab+416:Base32 .gopclntab+420:Name"},
		{"1.18", goMagic118, 8, ".gopclntab+400:Base32 .gopclntab+404:Offset .gopclntab+408:Base32 .gopclntab+412:Offset .gopclntab+416:Base32 .gopclntab+420:Name"},
		{"1.16", goMagic116, 8, ".gopclntab+400:ConstWord .gopclntab+408:Offset .gopclntab+416:ConstWord .gopclntab+424:Offset .gopclntab+432:ConstWord .gopclntab+440:Name"},
		{"1.16 in 32 bits", goMagic116, 4, ".gopclntab+400:ConstWord32 .gopclntab+404:Offset .gopclntab+408:ConstWord32 .gopclntab+412:Offset .gopclntab+416:ConstWord32 .gopclntab+420:Name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := oldGoTable(seeded(5), 2, tt.word, tt.magic)
			b := image(machineX86, elfFixed, codePiece(fill(256)), table)
			if tt.word == 4 {
				b = image32(elfFixed, codePiece(nops(256)), table)
			}
			e := mustParse(t, b)
			got := found(e, b)
			if !strings.Contains(got, tt.want) || strings.Count(got, "Offset4") != 2 {
				t.Errorf("fields = %s\nwant among them %s and two of Offset4", got, tt.want)
			}
		})
	}
}
