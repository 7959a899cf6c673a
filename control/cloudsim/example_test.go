package cloudsim_test

import (
	"fmt"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// A cloud that wants something of a device.
func ExampleStart() {
	sim, err := aws.Start(cloudsim.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	version, err := sim.Push("gw-1", map[string]any{"softwareURL": "https://example.com/v2", "jobID": "j-17"})
	fmt.Println("version", version, err)
	fmt.Println("desired", sim.Device("gw-1").Desired["jobID"])
	fmt.Println("closed", sim.Close())
	// Output:
	// version 1 <nil>
	// desired j-17
	// closed <nil>
}
