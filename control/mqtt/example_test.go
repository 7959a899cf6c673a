package mqtt_test

import (
	"fmt"

	"github.com/updraft-ota/updraft/control/mqtt"
)

// Settings that would give a password away are refused before anything connects.
func ExampleNew() {
	cfg := mqtt.Config{
		URL: "tcp://broker.example", ID: "gw-1", User: "gw-1",
		Password: mqtt.SecretFile("/etc/updraft/password"),
	}
	_, err := mqtt.New(cfg, newEcho("gw-1"), &host{})
	fmt.Println(err)

	cfg.URL = "tls://broker.example"
	_, err = mqtt.New(cfg, newEcho("gw-1"), &host{})
	fmt.Println(cfg.Password, err)
	// Output:
	// bad connection settings: user and password need TLS, or a broker on this machine: tcp://broker.example:1883
	// secret from file /etc/updraft/password <nil>
}
