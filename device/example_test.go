package device_test

import (
	"context"
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

func Example() {
	config, err := device.Load("/device/device.yaml", []byte(`
apiVersion: updraft/v1
kind: Device
facts: {model: gw-200, hardware: 1.10, version: {target: rootfs}}
targets:
  rootfs: {slots: {a: slot-a.img, b: slot-b.img}, boot: {file: boot.json}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	door, err := device.New(config, device.Env{FS: disk.NewForgetful(), Clock: disk.NewVirtual(time.Unix(0, 0))})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := device.Client{Door: door}
	facts, err := ask.Facts(context.Background())
	fmt.Printf("%q %v\n", facts, err)
	target, err := ask.Resolve(context.Background(), "rootfs@inactive")
	fmt.Println(target.Ref, err)
	// Output:
	// map["hardware":"1.10" "model":"gw-200" "version":""] <nil>
	// rootfs@b <nil>
}
