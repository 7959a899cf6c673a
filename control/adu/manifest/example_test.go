package manifest_test

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/updraft-ota/updraft/control/adu/manifest"
)

// An action is believed if its signature leads to a root key.
func Example() {
	raw, err := os.ReadFile("testdata/adu-signed.json")
	if err != nil {
		log.Fatal(err)
	}
	var actions []struct {
		Service json.RawMessage `json:"service"`
	}
	if err := json.Unmarshal(raw, &actions); err != nil {
		log.Fatal(err)
	}
	for _, a := range actions {
		m, err := manifest.Verify(a.Service, manifest.Production())
		if err != nil {
			fmt.Println("refused:", manifest.Why(err))
			continue
		}
		fmt.Println("accepted:", m.ID)
	}
	// Output:
	// refused: ManifestHashMismatch
	// accepted: {"provider":"Contoso","name":"Virtual-Vacuum","version":"20.0"}
}
