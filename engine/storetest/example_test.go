package storetest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/storetest"
)

// memory is a place for a store that lives as long as the test.
func memory(*testing.T) storetest.Open {
	m := engine.NewMemory()
	return func() (engine.Store, error) { return m, nil }
}

func TestSuite(t *testing.T) { storetest.Run(t, memory) }

// The whole test of a store, in the package that has it.
func ExampleRun() {
	var _ = func(t *testing.T) { storetest.Run(t, memory) } // func TestStore(t *testing.T)
}

// What a store holds, in one line, for messages of a test.
func ExampleText() {
	m := engine.NewMemory()
	err := m.Apply(context.Background(), engine.Batch{
		Run:    "run-1",
		Append: []engine.Entry{{Seq: 0, Bytes: []byte("accepted")}},
		Put:    map[string][]byte{"floor": []byte("7")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	held, err := m.Load(context.Background(), "run-1")
	fmt.Println(storetest.Text(held), err)
	// Output:
	// "accepted"#8 "floor"="7"#1  <nil>
}
