package main

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
)

// accounts are the devices that the flags name, and the files with the keys
// that were made for some of them.
func (f simFlags) accounts() (a cloudsim.Accounts, keys []string, err error) {
	a.Devices = map[string]string{}
	if f.devices != "" {
		if a, err = readAccounts(f.devices); err != nil {
			return a, nil, err
		}
	}
	a.Host = cmp.Or(f.host, a.Host, f.plane.host)
	a.Product = cmp.Or(f.product, a.Product, f.plane.product)
	if len(f.device) > 0 && f.state == "" {
		return a, nil, usagef("--device makes a key in the folder of --state, which is ''; --devices names a file")
	}
	for _, device := range f.device {
		if _, ok := a.Devices[device]; ok {
			continue // it has a secret of its own
		}
		name := filepath.Join(f.state, "keys", url.QueryEscape(device))
		if a.Devices[device], err = keyIn(name); err != nil {
			return a, nil, err
		}
		keys = append(keys, name)
	}
	return a, keys, nil
}

// readAccounts reads a file such as
//
//	product: GATEWAYS
//	devices:
//	  gw-1: SECRET
func readAccounts(name string) (a cloudsim.Accounts, err error) {
	text, err := readSmall(disk.OS(), name, document.MaxBytes)
	if err != nil {
		return a, err
	}
	var file struct {
		Host    string            `yaml:"host"`
		Product string            `yaml:"product"`
		Devices map[string]string `yaml:"devices"`
	}
	doc, err := document.Load(name, text)
	if err == nil {
		err = doc.Decode(&file)
	}
	if err != nil {
		return a, usagef("--devices: %w", err)
	}
	if file.Devices == nil {
		file.Devices = map[string]string{}
	}
	return cloudsim.Accounts{Host: file.Host, Product: file.Product, Devices: file.Devices}, nil
}

// keyIn is the key in a file, which is made if there is none: 32 random bytes
// in base64, as all vendors take it.
func keyIn(name string) (string, error) {
	key, err := os.ReadFile(name)
	if err == nil {
		return strings.TrimSpace(string(key)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", usagef("--device: %w", err)
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	text := base64.StdEncoding.EncodeToString(random)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", usagef("--device: %w", err)
	}
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		return "", usagef("--device: %w", err)
	}
	return text, nil
}
