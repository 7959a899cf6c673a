package wasmhost

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// misbehave is a process that was started as a module's and, where the guest
// would begin, does something else.
func misbehave(does string) error {
	if does == compilesAlone {
		return compileAlone(os.Stdin, os.Stdout)
	}
	p := &apartProcess{r: os.Stdin, w: os.Stdout}
	if err := p.begin(); err != nil {
		return err
	}
	if does == "spins" {
		if err := limitCompile(p.hello.Compile, 1); err != nil {
			return err
		}
	}
	if err := putFrame(p.w, frameReady, make([]byte, frameHead)); err != nil {
		return err
	}
	kind, _, err := getFrame(p.r, nil, 0)
	if err == io.EOF {
		return nil
	}
	if err != nil || kind != frameGo {
		return errWire
	}
	if err := limitGuest(p.hello.Memory); err != nil {
		return err
	}
	switch does {
	case "allocates":
		return fmt.Errorf("got %d bytes", len(bytes.Repeat([]byte{1}, 512*mib)))
	case "opens":
		_, err := os.Open("/etc/passwd")
		return err
	case "spins":
		for {
			does += ""
		}
	case "crashes":
		return crash(nil)
	case "babbles":
		return putFrame(p.w, frameCall, make([]byte, frameHead+3))
	}
	return nil
}

func crash(p *int) error { return fmt.Errorf("read %d", *p) }
