package vendors

import (
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

var aliyunSDKs = []string{"alibabacloud-iot-device-sdk", "aliyun-iot-device-sdk"}

// tripled is the environment of a script that has a device's product, name and secret.
func tripled(s *sim, sdk string) map[string]string {
	return map[string]string{"SDK": sdk, "BROKER": strings.Replace(s.at.Broker, "tcp:", "mqtt:", 1) + "/", "PRODUCT": "PRODUCT001", "SECRET": s.key("gw-1")}
}

func TestAliyunOTA(t *testing.T) {
	for _, sdk := range aliyunSDKs {
		t.Run(sdk, func(t *testing.T) {
			needModules(t, sdk)
			cloud := simulate(t, "aliyunota", "--device", "gw-1", "--files", image(t, []byte("firmware 2")))
			device := script(t, "aliyun_ota.js", tripled(cloud, sdk))
			device.says("ready")
			device.says("props 200")
			cloud.push(cloudsim.Succeeded, "SUCCEEDED", "--device", "gw-1", "--url", "image.bin", "--version", "2.0")
			device.says("upgraded")
			device.close()
		})
	}
}

// TestHaaS has the SDK's own model of services and events carry the app upgrade.
// The early SDK cannot answer a call, so that it is not asked.
func TestHaaS(t *testing.T) {
	sdk := aliyunSDKs[0]
	needModules(t, sdk)
	cloud := simulate(t, "haas", "--device", "gw-1", "--files", image(t, []byte("app 2")))
	device := script(t, "aliyun_haas.js", tripled(cloud, sdk))
	device.says("ready")
	device.says("query 200")
	cloud.push(cloudsim.Succeeded, "200", "--device", "gw-1", "--url", "image.bin", "--version", "0.0.2", "--set", "appId=8800100099990000")
	device.says("result 200")
	device.close()
}
