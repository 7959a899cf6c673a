package storetest

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// placeVariable tells a child process which store it is to write.
const placeVariable = "UPDRAFT_STORETEST_PLACE"

// Kill starts the running test again as a process of its own that appends
// entries to a store in a folder, kills it the given number of times, and
// demands that no entry is missing that it acknowledged, and that no batch is
// half there. One round in four is killed while it opens the store. Each round
// goes on where the last one was killed. Beside each entry a value of filler
// bytes is overwritten, below 64 KiB: with a large one the store has to turn
// its log over while it is killed. It must be the first call of a test that
// has no parent.
func Kill(t *testing.T, rounds, filler int, open func(dir string) (engine.Store, error)) {
	if dir := os.Getenv(placeVariable); dir != "" {
		write(t, dir, filler, open)
		return
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	dir := t.TempDir() + "/store"
	acknowledged, opening := -1, 0
	for round := range rounds {
		acks := 1 + random.IntN(250)
		if round%4 == 3 {
			acks = 0
			opening++
		}
		last, err := killed(t, dir, acks, time.Duration(random.IntN(40))*time.Millisecond)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		acknowledged = max(acknowledged, last)
	}
	s, err := open(dir)
	if err != nil {
		t.Fatalf("open at the end: %v", err)
	}
	n, err := whole(t.Context(), s)
	if c, ok := s.(io.Closer); ok {
		defer c.Close() //nolint:errcheck // the last look at a store that is thrown away
	}
	if err != nil || n <= acknowledged {
		t.Fatalf("found %d entries, %v, want more than number %d", n, err, acknowledged)
	}
	t.Logf("%d kills, %d of them while opening: %d entries, number %d was the last acknowledged", rounds, opening, n, acknowledged)
}

// killed runs one child until it has acknowledged so many entries, or with
// none for so long, and gives the last acknowledged number.
func killed(t *testing.T, dir string, acks int, wait time.Duration) (last int, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	c.Env = append(os.Environ(), placeVariable+"="+dir)
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close() //nolint:errcheck // a pipe
	c.ExtraFiles = []*os.File{w}
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		return 0, err
	}
	w.Close() //nolint:errcheck // the child has its own
	if acks == 0 {
		time.AfterFunc(wait, cancel) // the kill itself is a matter of time
	}
	last = -1
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "ack %d", &last); err != nil {
			return 0, fmt.Errorf("child: %q", lines.Text())
		}
		if acks--; acks == 0 {
			cancel() // and read on: what it said before it died counts
		}
	}
	if err := c.Wait(); ctx.Err() == nil {
		return 0, fmt.Errorf("the child ended by itself: %v\n%s", err, said.String())
	}
	return last, nil
}

// write appends until it is killed. Descriptor 3 is the parent's pipe.
func write(t *testing.T, dir string, filler int, open func(dir string) (engine.Store, error)) {
	out := os.NewFile(3, "acknowledgements")
	fail := func(err error) {
		fmt.Fprintf(out, "cannot go on: %v\n", err) //nolint:errcheck // it is all we can do
		t.Fatal(err)
	}
	s, err := open(dir)
	if err != nil {
		fail(err)
	}
	n, err := whole(t.Context(), s)
	if err != nil {
		fail(err)
	}
	if n > 0 {
		fmt.Fprintf(out, "ack %d\n", n-1) //nolint:errcheck // what is there now must stay
	}
	for ; ; n++ {
		e := engine.Entry{Seq: uint64(n), Bytes: sealed(n)}
		b := engine.Batch{Run: "kill", Expect: e.Seq, Append: []engine.Entry{e}, Put: map[string][]byte{
			"last": e.Bytes, "filler": make([]byte, filler),
		}}
		if err := s.Apply(t.Context(), b); err != nil {
			fail(err)
		}
		if _, err := fmt.Fprintf(out, "ack %d\n", n); err != nil {
			return
		}
	}
}

// whole counts the entries and holds each to its checksum, and the value to
// the last of them.
func whole(ctx context.Context, s engine.Store) (int, error) {
	log, err := s.Load(ctx, "kill")
	if err != nil {
		return 0, err
	}
	n := len(log.Entries)
	for i, e := range log.Entries {
		if string(e.Bytes) != string(sealed(i)) {
			return 0, fmt.Errorf("entry %d is another", i)
		}
	}
	if n > 0 && string(log.Values["last"]) != string(sealed(n-1)) {
		return 0, fmt.Errorf("the value beside %d entries is of another batch", n)
	}
	return n, nil
}

// sealed makes the bytes of an entry: its number, filling, a checksum.
func sealed(n int) []byte {
	p := binary.BigEndian.AppendUint64(nil, uint64(n))
	for range 20 + n%200 {
		p = append(p, byte(n+len(p)))
	}
	return binary.BigEndian.AppendUint32(p, crc32.ChecksumIEEE(p))
}
