package cloudsim_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// closer is a cloud that has to end something of its own.
type closer struct {
	toy
	closed, connected int
	err               error
}

func (c *closer) Close() error {
	c.closed++
	for _, client := range c.sim.Clients() {
		if client.Connected {
			c.connected++
		}
	}
	return c.err
}

func TestACloudIsClosedWhenEverybodyIsGone(t *testing.T) {
	broken := errors.New("it still wanted to write")
	c := &closer{err: broken}
	s, err := cloudsim.Start(cloudsim.Config{}, c)
	if err != nil {
		t.Fatal(err)
	}
	toyClient(t, s, "one|1")
	if err := s.Close(); !errors.Is(err, broken) {
		t.Errorf("Close = %v, want the cloud's error", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if c.closed != 1 || c.connected != 0 {
		t.Errorf("the cloud was closed %d times with %d connected, want once with none", c.closed, c.connected)
	}
}

func TestACloudIsClosedWhenNothingCanStart(t *testing.T) {
	c := &closer{}
	if _, err := cloudsim.Start(cloudsim.Config{Listen: "127.0.0.1:no"}, c); err == nil || c.closed != 1 {
		t.Errorf("Start = %v with %d closings, want an error and one", err, c.closed)
	}
}

func TestExpired(t *testing.T) {
	s, _ := startToy(t, cloudsim.Config{}, &toy{})
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultToken, Client: "one", Every: 2})
	if a, b, other := s.Expired("one"), s.Expired("one"), s.Expired("two"); a || !b || other {
		t.Errorf("expired: %t, %t, and another device %t; want the second alone", a, b, other)
	}
	if now := s.Faults(); len(now) != 1 || now[0].Hits != 1 {
		t.Errorf("faults = %+v, want one with one hit", now)
	}
}

func TestDescribe(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "image"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := startToy(t, cloudsim.Config{Files: folder}, &toy{})
	const (
		newMD5    = "22af645d1859cb5ca6da0c484f1f37ea"
		newSHA1   = "c2a6b03f190dfb2b4aa91f8af8d477a9bc3401dc"
		newSHA256 = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
	)
	for _, tt := range []struct {
		name       string
		give, want cloudsim.Software
		err        error
	}{
		{"a file", cloudsim.Software{File: "image", Version: "2"}, cloudsim.Software{File: "image", Version: "2", Size: 3, MD5: newMD5, SHA1: newSHA1, SHA256: newSHA256}, nil},
		{"what is said stays", cloudsim.Software{File: "image", Size: 7, MD5: "a", SHA1: "b", SHA256: "c"}, cloudsim.Software{File: "image", Size: 7, MD5: "a", SHA1: "b", SHA256: "c"}, nil},
		{"another server's", cloudsim.Software{URL: "https://files.example/a"}, cloudsim.Software{URL: "https://files.example/a"}, nil},
		{"no such file", cloudsim.Software{File: "none"}, cloudsim.Software{File: "none"}, cloudsim.ErrConfig},
		{"a folder", cloudsim.Software{File: "."}, cloudsim.Software{File: "."}, cloudsim.ErrConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.give
			if err := s.Describe(&got); !errors.Is(err, tt.err) || got != tt.want {
				t.Errorf("Describe = %+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}
