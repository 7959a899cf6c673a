package device

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/internal/document"
)

// grant says what is wrong with a grant to modules, "" if nothing.
func (c Config) grant(g string) (code, text string) {
	kind, name, named := strings.Cut(g, ":")
	switch {
	case kind == "serial" && named:
		if _, ok := c.Serial[name]; !ok {
			return document.UnknownTarget, document.Unknown("serial port", name, slices.Sorted(maps.Keys(c.Serial)))
		}
	case kind == "exec" && named:
		if _, ok := c.Commands[name]; !ok {
			return document.UnknownTarget, document.Unknown("command", name, slices.Sorted(maps.Keys(c.Commands)))
		}
	case kind == "http" && named:
		if !goodHost(name) {
			return document.BadValue, fmt.Sprintf("grant %s: expected http:HOST or http:HOST:PORT, without a scheme or a path", quote(g))
		}
	case g == "reboot":
	case named:
		return document.BadValue, fmt.Sprintf("grant %s: expected a target, serial:PORT, exec:COMMAND, http:HOST or reboot", quote(g))
	default:
		if _, ok := c.Targets[g]; !ok {
			return document.UnknownTarget, document.Unknown("target", g, c.names())
		}
	}
	return "", ""
}

// goodHost says whether s is a host name or address, with a port or without.
func goodHost(s string) bool {
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return false
		}
		host = h
	} else if strings.Contains(s, ":") && net.ParseIP(strings.Trim(s, "[]")) == nil {
		return false
	}
	host = strings.Trim(host, "[]")
	return host != "" && len(s) <= 120 && !strings.ContainsFunc(host, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("/\\?#@*%", r)
	})
}

// beside checks what a module may reach beside the targets.
func (m *found) beside(c Config) {
	for _, name := range slices.Sorted(maps.Keys(c.Serial)) {
		p, at := c.Serial[name], "serial."+name
		if !goodName.MatchString(name) {
			m.add(at, document.BadValue, "serial port %q: %s", name, nameRule)
		}
		if p.Path == "" {
			m.add(at, document.Missing, "serial port %s: expected path: /dev/…", name)
		}
		if p.Baud < 0 || p.Baud > 4_000_000 {
			m.add(at+".baud", document.BadValue, "speed %d: expected bits a second such as 115200", p.Baud)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Commands)) {
		m.command(name, c.Commands[name])
	}
}

func (m *found) command(name string, t Tool) {
	at := "commands." + name
	if !goodName.MatchString(name) {
		m.add(at, document.BadValue, "command %q: %s", name, nameRule)
	}
	if len(t.Exec) == 0 || t.Exec[0] == "" {
		m.add(at, document.Missing, "command %s: expected exec: [PROGRAM, ARGUMENT…]", name)
	}
	if t.Timeout < 0 {
		m.add(at+".timeout", document.BadValue, "timeout: expected a time such as 30s, have %v", t.Timeout)
	}
	for i, arg := range t.Exec {
		for _, p := range placeholder.FindAllString(arg, -1) {
			switch {
			case i == 0:
				m.add(at+".exec[0]", document.BadValue, "a module cannot choose the program: %s stands for an argument only", p)
			case !goodParameter.MatchString(p):
				m.add(fmt.Sprintf("%s.exec[%d]", at, i), document.BadValue, "parameter %s: expected ${name}, of a lower-case letter and up to 31 of a-z, 0-9 and _", quote(p))
			}
		}
		if strings.ContainsRune(arg, 0) {
			m.add(fmt.Sprintf("%s.exec[%d]", at, i), document.BadValue, "an argument cannot have a zero byte")
		}
	}
}
