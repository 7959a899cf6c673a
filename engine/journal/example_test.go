package journal_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
)

// What a batch holds is there when the journal is opened again.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "updraft-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	open := func() *journal.Journal {
		j, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{})
		if err != nil {
			log.Fatal(err)
		}
		return j
	}

	ctx := context.Background()
	j := open()
	err = j.Apply(ctx, engine.Batch{
		Run:    "run-1",
		Append: []engine.Entry{{Seq: 0, Bytes: []byte("accepted")}},
		Put:    map[string][]byte{"checkpoint/image": []byte("1048576")},
	})
	fmt.Println("applied", err)
	fmt.Println("closed", j.Close())

	j = open()
	held, err := j.Load(ctx, "run-1")
	fmt.Printf("%s %s %v\n", held.Entries[0].Bytes, held.Values["checkpoint/image"], err)
	fmt.Println("closed", j.Close())
	// Output:
	// applied <nil>
	// closed <nil>
	// accepted 1048576 <nil>
	// closed <nil>
}
