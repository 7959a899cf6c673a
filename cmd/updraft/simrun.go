package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
)

// simFlags are those of a simulator.
type simFlags struct {
	listen, filesListen, control string
	files, state, trace          string
	cert, key, clientCA          string
	json                         bool
}

func (p *program) simAWSIoTCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "awsiot",
		Short: "Simulate the shadow update pattern of AWS IoT",
		Long: `Run a broker, the shadows of devices and a file server until an interrupt, then
exit 0. A device connects with its id as the MQTT client id, and uses the topics
state/ID/update/… or $aws/things/ID/shadow/update/…; it sees its own alone.

Standard output gets the addresses, standard error a line for each device that
connects or goes, each desire and each report of an end. --trace FILE appends a
line of JSON for each message: time, client, direction (up, down), topic, qos,
dup, payload, base64 (the payload is not text). Queries of URLs and members that
are named as secrets are left out of it. With "-" the trace goes to standard
output, and the addresses go to standard error unless --json puts them before
the trace, as one line with broker, files and control.

What the devices reported is kept in --state, so the simulator may be killed and
started again; it listens then where it did before, unless told otherwise. The
commands below find a running one by the same folder. Only programs of this
machine may drive it.

TLS wants --tls-cert and --tls-key. With --client-ca a device must show a
certificate of that CA whose common name is its id.`,
		Example: `  updraft sim awsiot --listen 127.0.0.1:1883 --files dist --trace trace.ndjson
  updraft sim awsiot push --device gw-1 --url gateway-2.0.img --version 2.0 --wait 5m
  updraft sim awsiot fault lost-puback --every 3
  updraft sim awsiot show --device gw-1`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return errors.New(document.Unknown("command", args[0], known(c)))
	}
	c.RunE = p.simAWSIoT(c)
	c.AddCommand(p.simPushCommand(), p.simFaultCommand(), p.simShowCommand())
	return c
}

func (p *program) simAWSIoT(c *cobra.Command) func(*cobra.Command, []string) error {
	f := simFlags{}
	c.Flags().StringVar(&f.listen, "listen", "", "`ADDR` of the broker, host:port (default as last time, or a free port of this machine)")
	c.Flags().StringVar(&f.files, "files", "", "folder `DIR` that the file server shows")
	c.Flags().StringVar(&f.filesListen, "files-listen", "", "`ADDR` of the file server (default as --listen)")
	c.Flags().StringVar(&f.control, "control", "", "`ADDR` where the commands below reach it, on this machine (default as --listen)")
	c.Flags().StringVar(&f.state, "state", simFolder, "`DIR` to keep what the cloud knows; '' for none")
	c.Flags().StringVar(&f.trace, "trace", "", "append each message to `FILE`; - for standard output")
	c.Flags().StringVar(&f.cert, "tls-cert", "", "certificate `FILE` of the broker, PEM")
	c.Flags().StringVar(&f.key, "tls-key", "", "key `FILE` of the certificate, PEM")
	c.Flags().StringVar(&f.clientCA, "client-ca", "", "`FILE` with the CA that signs the devices' certificates, PEM")
	c.Flags().BoolVar(&f.json, "json", false, "print the addresses as one line of JSON")
	c.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	must(c.MarkFlagDirname("files"))
	must(c.MarkFlagDirname("state"))
	for _, address := range []string{"listen", "files-listen", "control"} {
		must(c.RegisterFlagCompletionFunc(address, cobra.NoFileCompletions))
	}
	return func(cmd *cobra.Command, _ []string) error { return p.simulate(cmd.Context(), f) }
}

// simulate runs a simulator until ctx ends, which is no error.
func (p *program) simulate(ctx context.Context, f simFlags) (err error) {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if f.state != "" {
		held, err := holdSim(f.state)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, held.Close()) }()
	}
	stdout, stderr := &latch{to: p.stdout}, &latch{to: p.stderr}
	cfg.Events = func(e cloudsim.Event) {
		fmt.Fprintf(stderr, "%s %s\n", e.Time.Local().Format(time.TimeOnly), agent.Printable(simLine(e)))
	}
	switch f.trace {
	case "":
	case "-":
		cfg.Trace = stdout
	default:
		file, err := os.OpenFile(f.trace, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return usagef("--trace: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		cfg.Trace = file
	}
	sim, err := cloudsim.Start(cfg)
	if err != nil {
		return simStartError(err)
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	if err := p.simAddresses(sim.Endpoints(), f); err != nil {
		return err
	}
	if err := errors.Join(stdout.open(), stderr.open()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// simAddresses prints where the simulator is.
func (p *program) simAddresses(at cloudsim.Endpoints, f simFlags) error {
	if f.json {
		enc := json.NewEncoder(p.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(at)
	}
	text := "broker   " + at.Broker + "\n"
	if f.files != "" {
		text += "files    " + at.Files + "\n"
	}
	to := p.stdout
	if f.trace == "-" {
		to = p.stderr
	}
	_, err := io.WriteString(to, text+"control  "+at.Control+"\n")
	return err
}

// config checks the flags.
func (f simFlags) config() (cfg cloudsim.Config, err error) {
	cfg = cloudsim.Config{State: f.state, Listen: f.listen, FilesListen: f.filesListen, ControlListen: f.control}
	for name, address := range map[string]string{"listen": f.listen, "files-listen": f.filesListen, "control": f.control} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			return cfg, usagef("--%s %q: expected host:port, such as 127.0.0.1:1883", name, address)
		}
	}
	if cfg.TLS, err = f.tls(); err != nil {
		return cfg, err
	}
	if f.files != "" {
		if cfg.Files, err = filepath.Abs(f.files); err != nil {
			return cfg, usagef("--files: %w", err)
		}
		if info, err := os.Stat(cfg.Files); err != nil {
			return cfg, usagef("--files: %w", err)
		} else if !info.IsDir() {
			return cfg, usagef("--files %s: expected a folder", f.files)
		}
	}
	if f.state == "" {
		return cfg, nil
	}
	if last, err := readEndpoints(f.state); err == nil { // without, all ports are free ones
		cfg.Listen = cmp.Or(cfg.Listen, lastAddress(last.Broker))
		cfg.FilesListen = cmp.Or(cfg.FilesListen, lastAddress(last.Files))
		cfg.ControlListen = cmp.Or(cfg.ControlListen, lastAddress(last.Control))
	}
	return cfg, nil
}

// lastAddress is where a simulator listened before, if only this machine could
// reach it: for more it is to be asked each time.
func lastAddress(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || !net.ParseIP(u.Hostname()).IsLoopback() {
		return ""
	}
	return u.Host
}

// tls is nil for plain TCP.
func (f simFlags) tls() (*tls.Config, error) {
	if f.cert == "" {
		if f.clientCA != "" {
			return nil, usagef("--client-ca wants --tls-cert and --tls-key too")
		}
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, usagef("--tls-cert, --tls-key: %w", err)
	}
	// Devices of AWS IoT end a handshake in which nobody asks for their certificate.
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	if f.clientCA == "" {
		return c, nil
	}
	text, err := readSmall(disk.OS(), f.clientCA, document.MaxBytes)
	if err != nil {
		return nil, err
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(text) {
		return nil, usagef("--client-ca %s: expected a certificate in PEM form", f.clientCA)
	}
	return c, nil
}

// holdSim makes the folder of a simulator, and keeps a second one out of it.
func holdSim(state string) (*disk.Held, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, usagef("--state: %w", err)
	}
	held, err := disk.Lock(filepath.Join(state, "lock"))
	if errors.Is(err, disk.ErrLocked) {
		return nil, fmt.Errorf("another simulator is at work: %w; to run a second one, give it a --state of its own", err)
	}
	return held, err
}

func simStartError(err error) error {
	var listen *net.OpError
	if errors.As(err, &listen) && listen.Op == "listen" {
		return usagef("%w; --listen, --files-listen and --control choose other addresses", listen)
	}
	return simError(err)
}

// simLine tells an event.
func simLine(e cloudsim.Event) string {
	switch e.Kind {
	case cloudsim.EventConnected, cloudsim.EventGone:
		return e.Client + " " + string(e.Kind)
	case cloudsim.EventDesired:
		text := e.Client + " is to do job " + cmp.Or(e.Job, "without an id")
		if e.URL != "" {
			text += ": " + e.URL
		}
		return text + fmt.Sprintf(" (shadow %d)", e.Version)
	case cloudsim.EventReport:
		return e.Client + " reports " + endText(e.End)
	}
	return e.Client + " " + string(e.Kind)
}

// endText is an end for people, in one line.
func endText(e cloudsim.End) string {
	text := fmt.Sprintf("%s of job %s", e.Result, e.Job)
	if e.Code != "" {
		text += ": " + e.Code
	}
	if e.Message != "" && e.Message != e.Code {
		text += ": " + strings.TrimPrefix(e.Message, e.Code+": ")
	}
	if e.Arrivals > 1 {
		text += fmt.Sprintf(" (arrived %d times)", e.Arrivals)
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// latch keeps what is written until it is opened, so that addresses come
// before what happens at them. It may be shared.
type latch struct {
	to io.Writer

	mu     sync.Mutex
	early  []byte
	opened bool
}

// Write writes, now or at open.
func (l *latch) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened {
		return l.to.Write(p)
	}
	l.early = append(l.early, p...)
	return len(p), nil
}

func (l *latch) open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.to.Write(l.early)
	l.opened, l.early = true, nil
	return err
}
