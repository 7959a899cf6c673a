package vendors

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// TestAzure has the vendor's device SDK and its service SDK meet at the hub.
func TestAzure(t *testing.T) {
	needModules(t, "azure-iot-device", "azure-iot-device-mqtt", "azure-iothub")
	p, content := newPKI(t), []byte("firmware 2")
	hub := simulate(t, "azurehub", "--device", "gw-1", "--device", "gw-2", "--host", "hub.example",
		"--tls-cert", p.cert, "--tls-key", p.key, "--files", image(t, content))
	device := script(t, "azure_device.js", map[string]string{"CA": p.ca,
		"CONNECTION": "HostName=hub.example;DeviceId=gw-1;SharedAccessKey=" + hub.key("gw-1") + ";GatewayHostName=localhost:" + port(t, hub.at.Broker)})
	device.says("ready")

	service := script(t, "azure_service.js", map[string]string{"NODE_EXTRA_CA_CERTS": p.ca, "FACE_PORT": port(t, hub.at.Face),
		"CONNECTION": "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=AAAA"})
	service.ends()
	for _, text := range []string{
		`reported {"serial":"A-17","nested":{"stays":2}}`,
		"state Connected",
		`updated {"tags":{"site":"lab"},"desired":30}`,
		"stale etag InvalidEtagError: If-Match is not the etag of the twin",
		`method {"payload":{"why":"asked to"},"status":500}`,
		`no device DeviceNotFoundError: "gw-9" is not registered`,
		"offline Error: Not found", // which the SDK makes of the hub's own form, too
		`no twin DeviceNotFoundError: "gw-9" is not registered`,
	} {
		service.says(text)
	}
	device.says(`desired {"$version":2,"interval":30}`)

	hub.push(cloudsim.Succeeded, "applyComplete", "--device", "gw-1", "--url", "image.bin")
	digest := sha256.Sum256(content)
	device.says("downloaded " + hex.EncodeToString(digest[:]))
	hub.heard(`"up"`, "$iothub/methods/res/200/")
	device.close()
}

// TestAzureCertificate has a device show a certificate in place of a token. The
// SDK takes such a device to port 8883 of its hub, whatever gateway is named.
func TestAzureCertificate(t *testing.T) {
	needModules(t, "azure-iot-device", "azure-iot-device-mqtt")
	p, devices := newPKI(t), filepath.Join(t.TempDir(), "devices.yaml")
	if err := os.WriteFile(devices, []byte("devices: {gw-1: \"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hub := simulate(t, "azurehub", "--devices", devices, "--host", ownAddress, "--listen", ownAddress+":8883", "--tls-cert", p.cert, "--tls-key", p.key, "--client-ca", p.ca,
		"--files", image(t, []byte("firmware 2")))
	device := script(t, "azure_device.js", map[string]string{"CA": p.ca, "CERT": p.deviceCert, "KEY": p.deviceKey,
		"CONNECTION": "HostName=" + ownAddress + ";DeviceId=gw-1;x509=true"})
	device.says("ready")
	hub.push(cloudsim.Succeeded, "applyComplete", "--device", "gw-1", "--url", "image.bin")
	device.close()
}

// TestAzureUpdate has a device do a deployment of Device Update by hand: the SDK carries the
// twin, and has no agent of its own.
func TestAzureUpdate(t *testing.T) {
	needModules(t, "azure-iot-device", "azure-iot-device-mqtt")
	p := newPKI(t)
	hub := simulate(t, "adu", "--device", "gw-1", "--host", "hub.example", "--tls-cert", p.cert, "--tls-key", p.key, "--files", image(t, []byte("firmware 2")))
	device := script(t, "azure_update.js", map[string]string{"CA": p.ca,
		"CONNECTION": "HostName=hub.example;DeviceId=gw-1;SharedAccessKey=" + hub.key("gw-1") + ";GatewayHostName=localhost:" + port(t, hub.at.Broker)})
	device.says("ready")
	hub.push(cloudsim.Succeeded, "0/700", "--device", "gw-1", "--url", "image.bin", "--version", "2.0")
	device.says("deployment of updraft device 2.0, 1 file")
	device.close()
}
