package wasmhost

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// The groups core, facts and time.

func hostLog(_ context.Context, c *call, a args) int64 {
	b := a.bytes(1)
	c.line(int(a.i32(0)), b[:min(len(b), abi.MaxLine)])
	return 0
}

func hostProgress(_ context.Context, c *call, a args) int64 {
	b := a.bytes(2)
	c.progress(max(a.i64(0), 0), max(a.i64(1), 0), clean(b[:min(len(b), abi.MaxText)]))
	return 0
}

func hostResult(_ context.Context, c *call, a args) int64 { return int64(c.setResult(a.bytes(0))) }

func hostCancelled(_ context.Context, c *call, _ args) int64 {
	if c.cancelled() {
		return 1
	}
	return 0
}

func hostFuel(_ context.Context, c *call, _ args) int64 { return c.tank.limit - c.tank.used() }

func hostInfo(_ context.Context, c *call, a args) int64 {
	text, err := json.Marshal(abi.Info{
		Phase: c.phase.String(), Run: c.g.Run, ABI: fmt.Sprintf("%d.%d", abi.Major, abi.Minor), Module: c.m.digest,
		Artifacts: slices.Sorted(maps.Keys(c.g.Sources)), Targets: slices.Sorted(maps.Keys(c.g.Targets)),
		Grants: c.allowed(),
	})
	if err != nil {
		return int64(c.fail(err))
	}
	return a.answer(0, text)
}

func hostFact(_ context.Context, c *call, a args) int64 {
	name, ok := a.text(0, abi.MaxName)
	value, found := c.g.Facts[name]
	if !ok || !found {
		a.bytes(2) // a bad pointer traps, found or not
		return int64(abi.ENOENT)
	}
	return a.answer(2, []byte(value))
}

func hostFacts(_ context.Context, c *call, a args) int64 {
	return a.answer(0, names(slices.Sorted(maps.Keys(c.g.Facts))))
}

func hostSetting(_ context.Context, c *call, a args) int64 {
	name, ok := a.text(0, abi.MaxName)
	all := c.g.Settings
	if len(all) == 0 {
		all = []byte("{}")
	}
	if ok && name == "" {
		return a.answer(2, all)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(all, &fields); err != nil {
		return int64(c.fail(fmt.Errorf("settings: %w", err)))
	}
	value, found := fields[name]
	if !ok || !found {
		a.bytes(2)
		return int64(abi.ENOENT)
	}
	return a.answer(2, value)
}

func timeNow(_ context.Context, c *call, _ args) int64  { return c.g.Clock.Now().UnixMilli() }
func timeMono(_ context.Context, c *call, _ args) int64 { return c.g.Clock.Mono().Milliseconds() }

func timeSleep(ctx context.Context, c *call, a args) int64 {
	ms := a.i64(0)
	if ms < 0 || ms > (24*time.Hour).Milliseconds() {
		return int64(abi.EINVAL)
	}
	if err := c.sleep(ctx, time.Duration(ms)*time.Millisecond); err != nil {
		return c.errno(err)
	}
	return 0
}

func timeRandom(_ context.Context, c *call, a args) int64 {
	if b := a.bytes(0); len(b) <= abi.MaxMark {
		return c.random(b)
	}
	return int64(abi.EINVAL)
}

// random fills b. In compat the bytes repeat, so that the verdict is the same
// on every machine.
func (c *call) random(b []byte) int64 {
	if c.dice == nil {
		c.dice = cmp.Or[io.Reader](c.g.Random, rand.Reader)
		if c.phase == abi.Compat {
			c.dice = mathrand.NewChaCha8([32]byte{})
		}
	}
	if _, err := io.ReadFull(c.dice, b); err != nil {
		return int64(c.fail(fmt.Errorf("random bytes: %w", err)))
	}
	return int64(len(b))
}

func (c *call) cancelled() bool { return c.g.Cancelled != nil && c.g.Cancelled() }

// lines counts what a phase logs.
type lines struct {
	used, dropped int
}

func (c *call) log(level int, line string) {
	if c.g.Log != nil {
		c.g.Log(level, line)
	}
}

// line logs one line within the quota.
func (c *call) line(level int, text []byte) {
	if c.logs.used+len(text)+1 > abi.MaxLog {
		c.logs.used = abi.MaxLog
		c.logs.dropped += len(text) + 1
		return
	}
	c.logs.used += len(text) + 1 // an empty line costs too
	c.log(min(max(level, abi.LevelDebug), abi.LevelError), clean(text))
}

// endLog logs what stands without a newline, and how much was not logged.
func (c *call) endLog() {
	for i := range c.out {
		c.out[i].flush()
	}
	if c.logs.dropped > 0 {
		c.log(abi.LevelWarn, fmt.Sprintf("%d further bytes of the module's log were dropped, %d a phase are kept", c.logs.dropped, abi.MaxLog))
	}
}

// clean makes text one line that a terminal prints as it stands.
func clean(text []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(text), "?"))
}

// printed is the module's stdout or stderr as lines of the log.
type printed struct {
	c     *call
	level int
	text  []byte
}

func (p *printed) write(b []byte) {
	for _, x := range b {
		if x == '\n' || len(p.text) == abi.MaxLine {
			p.c.line(p.level, p.text)
			p.text = p.text[:0]
		}
		if x != '\n' {
			p.text = append(p.text, x)
		}
	}
}

func (p *printed) flush() {
	if len(p.text) > 0 {
		p.c.line(p.level, p.text)
	}
}

// progress is the last one said, and whether it was passed on.
type progress struct {
	done, total int64
	text        string
	held        bool
	begun       bool
	at          time.Duration
}

const progressEvery = time.Second / 20

// progress passes at most 20 a second on; the last one is never lost.
func (c *call) progress(done, total int64, text string) {
	c.shown.done, c.shown.total, c.shown.text, c.shown.held = done, total, text, true
	if c.g.Clock == nil {
		return
	}
	if now := c.g.Clock.Mono(); !c.shown.begun || now-c.shown.at >= progressEvery {
		c.shown.begun, c.shown.at = true, now
		c.shown.end(c.g.Progress)
	}
}

func (p *progress) end(report func(done, total int64, text string)) {
	if p.held && report != nil {
		report(p.done, p.total, p.text)
	}
	p.held = false
}
