package main

import (
	"fmt"
	"html"
	"io"
	"math"
)

// Measures of the picture, in pixels.
const (
	panelLeft, panelWidth, panelGap = 160, 420, 40
	panelTop, rowHeight             = 96, 26
	pictureWidth                    = panelLeft + 2*panelWidth + panelGap + 24
)

// shades are the colours of peers, far enough apart for most eyes; ours are
// drawn larger.
var shades = map[string]string{
	"updraft-fast": "#7db8f0", "updraft-default": "#0b62c4", "updraft-max": "#052c5a",
	"hdiffz-zstd": "#d9480f", "hdiffz-lzma2": "#f59f00", "zucchini-xz": "#2b8a3e",
	"bsdiff": "#862e9c", "go-bsdiff": "#da77f2", "xdelta3": "#e64980",
	"zstd-3": "#adb5bd", "zstd-19": "#495057", "rdiff-zstd": "#a9825a",
}

// panel is a row of dots for each pair, on a logarithmic scale.
type panel struct {
	title    string
	value    func(p pair, peer string) float64 // 0 if there is none
	low, top float64                           // powers of ten at the edges
	left     int
}

// writePicture draws size and time to make of each peer beside hdiffz.
func (r *results) writePicture(w io.Writer, pairs []pair) {
	drawn := r.drawn(pairs)
	height := panelTop + rowHeight*len(drawn) + 44
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">`+"\n",
		pictureWidth, height, pictureWidth, height)
	fmt.Fprintln(w, `<title>Size of patches and time to make them, beside hdiffz</title>`)
	fmt.Fprintf(w, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", pictureWidth, height)
	r.drawLegend(w)
	for i, p := range drawn {
		y := panelTop + rowHeight*i
		if i%2 == 0 {
			fmt.Fprintf(w, `<rect x="8" y="%d" width="%d" height="%d" fill="#f4f5f7"/>`+"\n", y, pictureWidth-16, rowHeight)
		}
		fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", panelLeft-12, y+rowHeight/2+4, html.EscapeString(p.Name))
	}
	size := panel{title: "size, better of hdiffz zstd-21 and lzma2 = 1", value: r.sizeBeside, left: panelLeft}
	made := panel{title: "time to make, hdiffz zstd-21 = 1", value: r.timeBeside, left: panelLeft + panelWidth + panelGap}
	for _, p := range []panel{size, made} {
		p.draw(w, drawn)
	}
	fmt.Fprintln(w, "</svg>")
}

// drawn are the pairs of which hdiffz made a patch, but for identical files,
// whose ratio says nothing.
func (r *results) drawn(pairs []pair) []pair {
	var drawn []pair
	for _, p := range pairs {
		if o := r.find(p.Name, usualPeer); o != nil && o.Make.Outcome == ok && p.Kind != "identical" {
			drawn = append(drawn, p)
		}
	}
	return drawn
}

func (r *results) sizeBeside(p pair, name string) float64 {
	j := judging{results: r, pair: p}
	base, own := j.smallest("hdiffz-zstd", "hdiffz-lzma2"), j.other(name)
	if base == nil || own == nil {
		return 0
	}
	return float64(own.Size) / float64(base.Size)
}

func (r *results) timeBeside(p pair, name string) float64 {
	j := judging{results: r, pair: p}
	base, own := j.other(usualPeer), j.other(name)
	if base == nil || own == nil || base.Make.Wall <= 0 {
		return 0
	}
	return own.Make.Wall / base.Make.Wall
}

func (r *results) drawLegend(w io.Writer) {
	x, y := 16, 22
	for _, q := range peers {
		shade := shades[q.Name]
		if shade == "" || !r.tried(q.Name) {
			continue
		}
		if x > pictureWidth-120 {
			x, y = 16, y+20
		}
		fmt.Fprintf(w, `<circle cx="%d" cy="%d" r="%d" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n", x, y-4, radius(q), shade, x+9, y, q.Name)
		x += 22 + 7*len(q.Name)
	}
}

func (r *results) tried(name string) bool {
	for _, o := range r.Records {
		if o.Peer == name && o.Make.Outcome == ok {
			return true
		}
	}
	return false
}

func radius(q peer) int {
	if q.ours() {
		return 6
	}
	return 4
}

// fit sets the edges to whole halves of powers of ten around all values.
func (p *panel) fit(pairs []pair) {
	low, top := -0.5, 0.5
	for _, one := range pairs {
		for name := range shades {
			if v := p.value(one, name); v > 0 {
				low, top = min(low, math.Log10(v)), max(top, math.Log10(v))
			}
		}
	}
	p.low, p.top = math.Floor(2*low)/2, math.Ceil(2*top)/2
}

func (p *panel) x(value float64) float64 {
	return float64(p.left) + (math.Log10(value)-p.low)/(p.top-p.low)*panelWidth
}

func (p *panel) draw(w io.Writer, pairs []pair) {
	p.fit(pairs)
	bottom := panelTop + rowHeight*len(pairs)
	fmt.Fprintf(w, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", p.left, panelTop-24, html.EscapeString(p.title))
	for power := math.Floor(p.low); power <= p.top; power++ {
		for _, step := range []float64{1, 2, 5} {
			at := step * math.Pow(10, power)
			if l := math.Log10(at); l < p.low || l > p.top {
				continue
			}
			shade, x := "#d0d4da", p.x(at)
			if at == 1 {
				shade = "#343a40"
			}
			fmt.Fprintf(w, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`+"\n", x, panelTop-4, x, bottom, shade)
			if step == 1 || p.top-p.low < 3 {
				fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle" fill="#495057">%.4g</text>`+"\n", x, bottom+16, at)
			}
		}
	}
	for i, one := range pairs {
		y := panelTop + rowHeight*i + rowHeight/2
		// Ours last, so that they lie on top.
		for n := range peers {
			q := peers[len(peers)-1-n]
			v := p.value(one, q.Name)
			if v <= 0 || shades[q.Name] == "" {
				continue
			}
			fmt.Fprintf(w, `<circle cx="%.1f" cy="%d" r="%d" fill="%s" fill-opacity="0.9"><title>%s, %s: %.3g</title></circle>`+"\n",
				p.x(v), y, radius(q), shades[q.Name], html.EscapeString(one.Name), q.Name, v)
		}
	}
}
