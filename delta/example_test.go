package delta_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/updraft-ota/updraft/delta"
)

func Example() {
	ctx := context.Background()
	old := strings.NewReader("Nothing is as permanent as a bootloader, version 1.\n")
	new := strings.NewReader("Nothing is as permanent as a bootloader, version 2.\n")

	format, err := delta.Lookup("zstd")
	if err != nil {
		log.Fatal(err)
	}
	var patch bytes.Buffer
	stats, err := delta.Make(ctx, format, &patch,
		io.NewSectionReader(old, 0, old.Size()), io.NewSectionReader(new, 0, new.Size()), delta.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes of patch for %d bytes\n", stats.PatchSize, stats.NewSize)

	r, err := format.NewReader(ctx, old, old.Size(), &patch, delta.Limits{Size: new.Size()})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	fmt.Printf("%s%v\n", got, err)
	// Output:
	// 23 bytes of patch for 52 bytes
	// Nothing is as permanent as a bootloader, version 2.
	// <nil>
}
