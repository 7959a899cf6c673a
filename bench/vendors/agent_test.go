package vendors

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is what the update brings: asked, it says how it is.
const program = "#!/bin/sh\necho 2.0 is healthy\n"

// TestAzureAgent has a back end with the vendor's service SDK update a device
// with updraft's agent.
func TestAzureAgent(t *testing.T) {
	needModules(t, "azure-iothub")
	p, dir := newPKI(t), t.TempDir()
	hub := simulate(t, "azurehub", "--device", "gw-1", "--tls-cert", p.cert, "--tls-key", p.key, "--files", image(t, []byte(program)))
	for name, text := range map[string]string{
		"device.key":  hub.key("gw-1"),
		"device.yaml": "apiVersion: updraft/v1\nkind: Device\ntargets: {app: {directory: app}}\ntrust: {require: none}\n",
		"update.yaml": `apiVersion: updraft/v1
kind: Workflow
name: app
inputs: {url: {type: string}}
steps:
  - {id: program, fetch: {url: "${{ inputs.url }}"}}
  - {id: write, install: {artifacts: {program: program}, targets: {out: {target: app}}, entry: gateway}}
  - {id: prove, confirm: {within: 5s, every: 100ms, probes: [{exec: [app/current/gateway], equals: "2.0 is healthy"}]}}
`,
		"agent.yaml": fmt.Sprintf(`apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes:
  azure:
    dialect: azurehub
    url: %s
    id: gw-1
    secrets: {deviceKey: {file: device.key}, roots: {file: %s}}
    settings: {hub: localhost}
commands: {azure: {workflow: update.yaml}}
`, strings.Replace(hub.at.Broker, "127.0.0.1", "localhost", 1), p.ca),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(updraft+"-agent", "--config", "agent.yaml")
	cmd.Dir = dir
	device := start(t, "updraft-agent", cmd)
	device.says(`connected as "gw-1"`)

	service := script(t, "azure_call.js", map[string]string{"NODE_EXTRA_CA_CERTS": p.ca, "FACE_PORT": port(t, hub.at.Face), "URI": hub.at.Files + "image.bin",
		"CONNECTION": "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=AAAA"})
	service.says("answer 200")
	service.says("status completed")
	service.ends()
	if got, err := os.ReadFile(filepath.Join(dir, "app", "current", "gateway")); err != nil || string(got) != program {
		t.Errorf("the device has %q, %v, want %q", got, err, program)
	}
}
