package vendors

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// thing is a simulator that wants certificates, and the environment of a script that has one.
func thing(t *testing.T, content []byte) (*sim, map[string]string) {
	t.Helper()
	p := newPKI(t)
	cloud := simulate(t, "awsiot", "--tls-cert", p.cert, "--tls-key", p.key, "--client-ca", p.ca, "--files", image(t, content))
	return cloud, map[string]string{"HOST": "localhost", "PORT": port(t, cloud.at.Broker), "CA": p.ca, "CERT": p.deviceCert, "KEY": p.deviceKey}
}

func TestAWSShadow(t *testing.T) {
	needModules(t, "aws-iot-device-sdk")
	cloud, with := thing(t, []byte("firmware 2"))
	device := script(t, "aws_v1_shadow.js", with)
	device.says("ready")
	for _, text := range []string{
		"get rejected 404", "update accepted 1", "update accepted 2", `get accepted {"reported":{"version":"1.0"}}`,
	} {
		device.says(text)
	}
	cloud.push(cloudsim.Succeeded, "SUCCESS", "--device", "gw-1", "--url", "image.bin", "--job", "j-1")
	device.says(`"jobID":"j-1"`)
	device.says("report accepted")
	device.close()
}

func TestAWSJobs(t *testing.T) {
	needModules(t, "aws-iot-device-sdk")
	content := []byte("firmware 2")
	cloud, with := thing(t, content)
	device := script(t, "aws_v1_jobs.js", with)
	device.says("ready")
	cloud.push(cloudsim.Succeeded, "SUCCEEDED", "--device", "gw-1", "--url", "image.bin", "--version", "2.0", "--job", "j-1", "--set", "via=jobs")
	digest := sha256.Sum256(content)
	for _, text := range []string{"job QUEUED version 2.0", "downloaded " + hex.EncodeToString(digest[:]), "end sent"} {
		device.says(text)
	}
	device.close()
}

func TestAWSSecondSDK(t *testing.T) {
	needModules(t, "aws-iot-device-sdk-v2", "aws-crt")
	for _, version := range []string{"3.1.1", "5"} {
		t.Run("MQTT "+version, func(t *testing.T) {
			cloud, with := thing(t, []byte("firmware 2"))
			with["MQTT"] = version
			device := script(t, "aws_v2.js", with)
			device.says("ready, 0 queued, 0 in progress")
			for _, text := range []string{
				"no shadow 404", "reported, version 1", "old version 409", `shadow {"reported":{"version":"1.0"}}`,
				`named delta {"channel":"beta"}`, "deleted shadow 404", "unknown job ResourceNotFound",
			} {
				device.says(text)
			}
			cloud.push(cloudsim.Succeeded, "SUCCEEDED", "--device", "gw-1", "--url", "image.bin", "--version", "2.0", "--job", "j-1", "--set", "via=jobs")
			for _, text := range []string{
				"next j-1", "started IN_PROGRESS with version 2.0", "old execution VersionMismatch",
				"described IN_PROGRESS fetched true", "ended execution InvalidStateTransition", "next none",
			} {
				device.says(text)
			}
			device.close()
		})
	}
}
