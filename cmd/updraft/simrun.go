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
	plane                                              simPlane
	listen, filesListen, filesURL, faceListen, control string
	files, state, trace                                string
	cert, key, clientCA                                string
	requestCertificate, https, json                    bool
	clockOffset                                        time.Duration
	device                                             []string
	devices, host, product                             string
	poll                                               time.Duration
	faceURL                                            string
}

func (p *program) simPlaneCommand(plane simPlane) *cobra.Command {
	long := `Run a broker, what the cloud keeps of devices and a file server until an
interrupt, then exit 0.

` + plane.about + `

Standard output gets the addresses, standard error a line for each device that
connects, goes or is refused, each order and each report of an end. --trace FILE
appends a line of JSON for each message: time, client, direction (up, down),
topic, qos, dup, payload, base64 (the payload is not text). Queries of URLs and
members that are named as secrets are left out of it. With "-" the trace goes to
standard output, and the addresses go to standard error unless --json puts them
before the trace, as one line with plane, broker, files, face and control.

What the devices reported is kept in --state, so the simulator may be killed and
started again; it listens then where it did before, unless told otherwise. The
commands below find a running one by the same folder. Only programs of this
machine may drive it.

TLS wants --tls-cert and --tls-key.`
	if plane.accounts {
		long += `

A device that the cloud does not know is refused. --device makes a key for one
at the first start, in the file keys/ID of the folder of --state; --devices names
a YAML file with known ones: host, product, and devices with their secrets by
name.`
	}
	example := "  updraft sim " + plane.name + " --files dist\n"
	if plane.accounts {
		example = "  updraft sim " + plane.name + " --files dist --device gw-1\n"
	}
	c := &cobra.Command{
		Use:   plane.name,
		Short: plane.short,
		Long:  long,
		Example: example + `  updraft sim ` + plane.name + ` push --device gw-1 --url gateway-2.0.img --version 2.0 --wait 5m
  updraft sim ` + plane.name + ` fault lost-puback --every 3
  updraft sim ` + plane.name + ` show --device gw-1`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return errors.New(document.Unknown("command", args[0], known(c)))
	}
	c.RunE = p.simRun(c, plane)
	for _, verb := range plane.verbs {
		c.AddCommand(p.simOrderCommand(plane, verb))
	}
	if plane.name == "adu" {
		c.AddCommand(p.simKeysCommand())
	}
	c.AddCommand(p.simFaultCommand(plane), p.simShowCommand(plane))
	return c
}

func (p *program) simRun(c *cobra.Command, plane simPlane) func(*cobra.Command, []string) error {
	f := simFlags{plane: plane}
	c.Flags().StringVar(&f.listen, "listen", "", "`ADDR` of the broker, host:port (default as last time, or a free port of this machine)")
	c.Flags().StringVar(&f.files, "files", "", "folder `DIR` that the file server shows")
	c.Flags().StringVar(&f.filesListen, "files-listen", "", "`ADDR` of the file server (default as --listen)")
	c.Flags().StringVar(&f.filesURL, "files-url", "", "`URL` by which devices reach the file server (default its address)")
	c.Flags().StringVar(&f.faceListen, "http-listen", "", "`ADDR` of what the cloud itself speaks over HTTP, if it does (default as --listen)")
	c.Flags().StringVar(&f.control, "control", "", "`ADDR` where the commands below reach it, on this machine (default as --listen)")
	c.Flags().StringVar(&f.state, "state", simFolder, "`DIR` to keep what the cloud knows; '' for none")
	c.Flags().StringVar(&f.trace, "trace", "", "append each message to `FILE`; - for standard output")
	c.Flags().StringVar(&f.cert, "tls-cert", "", "certificate `FILE` of the broker, PEM")
	c.Flags().StringVar(&f.key, "tls-key", "", "key `FILE` of the certificate, PEM")
	c.Flags().StringVar(&f.clientCA, "client-ca", "", "`FILE` with the CA that signs the devices' certificates, PEM")
	c.Flags().BoolVar(&f.requestCertificate, "request-client-certificate", plane.certificate, "ask devices for a certificate, and take those without one")
	c.Flags().BoolVar(&f.https, "https", false, "serve files with the certificate too")
	c.Flags().DurationVar(&f.clockOffset, "clock-offset", 0, "the cloud's clock is ahead by a `time`, such as 1h or -10m")
	c.Flags().BoolVar(&f.json, "json", false, "print the addresses as one line of JSON")
	c.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	must(c.MarkFlagDirname("files"))
	must(c.MarkFlagDirname("state"))
	without := []string{"listen", "files-listen", "files-url", "http-listen", "control", "clock-offset"}
	if plane.accounts {
		c.Flags().StringArrayVar(&f.device, "device", nil, "`ID` of a device that the cloud knows, repeatable; its key is made if there is none")
		c.Flags().StringVar(&f.devices, "devices", "", "`FILE` with devices that the cloud knows, and their secrets")
		without = append(without, "device")
		if plane.host != "" {
			c.Flags().StringVar(&f.host, "host", "", "`NAME` of the cloud in tokens (default "+plane.host+")")
			without = append(without, "host")
		}
		if plane.product != "" {
			c.Flags().StringVar(&f.product, "product", "", "`ID` of the product (default "+plane.product+")")
			without = append(without, "product")
		}
	}
	if plane.name == "adu" {
		c.Flags().StringVar(&f.faceURL, "http-url", "", "`URL` by which devices reach root keys and manifests over HTTP (default its address)")
		without = append(without, "http-url")
	}
	if plane.name == "hawkbit" {
		c.Flags().DurationVar(&f.poll, "poll", 10*time.Second, "`time` that devices are told to wait between polls")
		without = append(without, "poll")
	}
	for _, flag := range without {
		must(c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions))
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
	accounts, keys, err := f.accounts()
	if err != nil {
		return err
	}
	cloud, err := f.plane.cloud(accounts, f)
	if err != nil {
		return simError(err, f.plane)
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
	sim, err := cloudsim.Start(cfg, cloud)
	if err != nil {
		return simStartError(err, f.plane)
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	if err := p.simAddresses(sim.Endpoints(), keys, f); err != nil {
		return err
	}
	if err := errors.Join(stdout.open(), stderr.open()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// simAddresses prints where the simulator is.
func (p *program) simAddresses(at cloudsim.Endpoints, keys []string, f simFlags) error {
	if f.json {
		enc := json.NewEncoder(p.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(at)
	}
	text := "broker   " + at.Broker + "\n"
	if at.Face != "" {
		text += "http     " + at.Face + "\n"
	}
	if f.files != "" {
		text += "files    " + at.Files + "\n"
	}
	for _, key := range keys {
		text += "key      " + key + "\n"
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
	cfg = cloudsim.Config{Plane: f.plane.name, State: f.state, Listen: f.listen, FilesListen: f.filesListen, FilesURL: f.filesURL, FaceListen: f.faceListen, ControlListen: f.control}
	for name, address := range map[string]string{"listen": f.listen, "files-listen": f.filesListen, "http-listen": f.faceListen, "control": f.control} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			return cfg, usagef("--%s %q: expected host:port, such as 127.0.0.1:1883", name, address)
		}
	}
	if cfg.TLS, err = f.tls(); err != nil {
		return cfg, err
	}
	if f.https {
		if cfg.TLS == nil {
			return cfg, usagef("--https wants --tls-cert and --tls-key too")
		}
		cfg.FilesTLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: cfg.TLS.Certificates}
	}
	for flag, address := range map[string]string{"files-url": f.filesURL, "http-url": f.faceURL} {
		if u, err := url.Parse(address); address != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return cfg, usagef("--%s: expected an address such as https://host:8443/", flag)
		}
	}
	if f.clockOffset != 0 {
		cfg.Now = func() time.Time { return time.Now().Add(f.clockOffset) }
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
	last, err := readEndpoints(f.state)
	if err == nil && last.Plane != f.plane.name && last.Plane != "" {
		return cfg, usagef("--state %s belongs to a simulator of %s; give this one a folder of its own", quoted(f.state), last.Plane)
	}
	if err == nil { // without, all ports are free ones
		cfg.Listen = cmp.Or(cfg.Listen, lastAddress(last.Broker))
		cfg.FilesListen = cmp.Or(cfg.FilesListen, lastAddress(last.Files))
		cfg.FaceListen = cmp.Or(cfg.FaceListen, lastAddress(last.Face))
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
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if f.requestCertificate { // devices of AWS IoT end a handshake in which nobody asks for one
		c.ClientAuth = tls.RequestClientCert
	}
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

func simStartError(err error, plane simPlane) error {
	var listen *net.OpError
	if errors.As(err, &listen) && listen.Op == "listen" {
		return usagef("%w; --listen, --files-listen, --http-listen and --control choose other addresses", listen)
	}
	return simError(err, plane)
}

// simLine tells an event.
func simLine(e cloudsim.Event) string {
	switch e.Kind {
	case cloudsim.EventOrder:
		return e.Client + " " + orderText(e)
	case cloudsim.EventReport:
		return e.Client + " reports " + endText(e.End)
	case cloudsim.EventRefused:
		return fmt.Sprintf("%q is refused: %s", e.Client, strings.TrimPrefix(e.Text, cloudsim.ErrRefused.Error()+": "))
	case cloudsim.EventNote:
		return e.Client + ": " + e.Text
	}
	return e.Client + " " + string(e.Kind)
}

// orderText is an order for people.
func orderText(e cloudsim.Event) string {
	text := "is to do job " + cmp.Or(e.Done.Job, "without an id")
	if verb := cloudsim.Verb(e.Text); verb != cloudsim.VerbPush {
		text = "is to " + e.Text + " job " + e.Done.Job
	}
	if e.Done.URL != "" {
		text += ": " + e.Done.URL
	}
	if e.Done.Text != "" {
		text += " (" + e.Done.Text + ")"
	}
	return text
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
