package examples_test

import (
	"bytes"
	"crypto/md5"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/haas"
	"github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/control/tencent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// dialectOf makes the dialect of a plane.
func dialectOf(t *testing.T, plane string, words map[string]string) control.Dialect {
	t.Helper()
	d, err := map[string]func() (control.Dialect, error){
		"adu": func() (control.Dialect, error) {
			words["manufacturer"], words["model"], words["rootKeys"] = "contoso", "virtual-vacuum-v1", serviceRoots(t)
			return made(adu.Settings, adu.New, words)
		},
		"aliyunota": func() (control.Dialect, error) { return made(aliyunota.Settings, aliyunota.New, words) },
		"awsiot":    func() (control.Dialect, error) { return made(awsiot.Settings, awsiot.New, words) },
		"awsjobs":   func() (control.Dialect, error) { return made(awsjobs.Settings, awsjobs.New, words) },
		"azurehub":  func() (control.Dialect, error) { return made(azurehub.Settings, azurehub.New, words) },
		"haas":      func() (control.Dialect, error) { return made(haas.Settings, haas.New, words) },
		"hawkbit": func() (control.Dialect, error) {
			words["files"] = "os/*.img"
			return made(hawkbit.Settings, hawkbit.New, words)
		},
		"tencent": func() (control.Dialect, error) { return made(tencent.Settings, tencent.New, words) },
	}[plane]()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func made[C any, D control.Dialect](settings func(map[string]string) (C, error), dialect func(C, []byte) (D, error), words map[string]string) (control.Dialect, error) {
	c, err := settings(words)
	if err != nil {
		return nil, err
	}
	return dialect(c, nil)
}

// system is the image of a device that says so of itself.
func system(version, health string) []byte {
	b := fmt.Appendf(nil, "version %s\nhealth %s\n", version, health)
	noise := rand.New(rand.NewPCG(1, uint64(len(version))))
	for len(b) < 3<<19 {
		b = fmt.Appendf(b, "%016x\n", noise.Uint64())
	}
	return b
}

// damaged is other content of the same size.
func damaged(content []byte) []byte {
	content = bytes.Clone(content)
	content[len(content)-2] ^= 1
	return content
}

// fit makes the messages of a conversation mean a file of ours: its address,
// size and digests stand where others stood.
func fit(url string, content []byte) func(string) string {
	sum, sum5 := sha256.Sum256(content), md5.Sum(content)
	return func(text string) string {
		for _, r := range []struct{ old, new string }{
			{`"https?://files\.example/[^"]*"`, `"` + url + `"`},
			{`"(size|file_size)": \d+`, fmt.Sprintf(`"$1": %d`, len(content))},
			{`"[0-9a-fA-F]{64}"`, `"` + hex.EncodeToString(sum[:]) + `"`},
			{`"[0-9a-fA-F]{32}"`, `"` + hex.EncodeToString(sum5[:]) + `"`},
			{`"release\.json"`, `"gateway.img"`},
		} {
			text = regexp.MustCompile(r.old).ReplaceAllString(text, r.new)
		}
		return text
	}
}

// Each plane's agent file, device file and workflow is one that the agent takes.
func TestPlanesCheck(t *testing.T) {
	dir := planes(t)
	files, err := filepath.Glob(filepath.Join(dir, "*", "agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 8 {
		t.Errorf("%d agent files, want 8", len(files))
	}
	for _, file := range files {
		plane := filepath.Base(filepath.Dir(file))
		t.Run(plane, func(t *testing.T) {
			if err := agent.Check([]string{file}); err != nil {
				t.Error(err)
			}
			if plane == "haas" {
				return
			}
			substitute(t, file, "update.yaml", "../release.yaml")
			if err := agent.Check([]string{file}); err != nil {
				t.Errorf("with release.yaml: %v", err)
			}
		})
	}
}

// slotTalks are the conversations in which a cloud asks a device of slots for a
// version, by a message with or without a digest and a version.
var slotTalks = []struct {
	plane, talk, version string
	digest               bool
}{
	{"azurehub", "success.txt", "2.0", false},
	{"azurehub", "desired-success.txt", "2.0", true},
	{"tencent", "success.txt", "0.2", true},
	{"awsiot", "success.txt", "2.0", true},
	{"awsjobs", "success.txt", "2.0", true},
	{"awsjobs", "document-files.txt", "2.0", true},
	{"aliyunota", "success.txt", "2.0.0", true},
	{"hawkbit", "success.txt", "2.0", true},
}

// What a cloud's message asks for is done, and what goes wrong is undone.
func TestPlanesSlots(t *testing.T) {
	for _, tt := range slotTalks {
		t.Run(tt.plane+"/"+tt.talk, func(t *testing.T) {
			for _, c := range []struct {
				name, version, health string
				spoil                 bool
				state                 engine.EndState
				active                string
			}{
				{"success", tt.version, "ok", false, engine.Succeeded, "b"},
				{"a version that is sick", tt.version, "sick", false, engine.RolledBack, "a"},
				{"another version", "9.9", "ok", false, engine.RolledBack, "a"},
				{"a damaged file", tt.version, "ok", true, engine.RolledBack, "a"},
			} {
				if !tt.digest && (c.spoil || c.version != tt.version) {
					continue // a message that says nothing of it
				}
				t.Run(c.name, func(t *testing.T) {
					dir, from := filepath.Join(planes(t), tt.plane), serve(t)
					old, image := system("1.0.0", "ok"), system(c.version, c.health)
					writeFile(t, filepath.Join(dir, "slot-a.img"), old)
					from.put("/gw.img", image)
					if c.spoil {
						from.put("/gw.img", damaged(image))
					}
					config, all := conversation(t, filepath.Join("../control", tt.plane, "testdata", tt.talk))
					command := ask(t, dialectOf(t, tt.plane, config), all, 1, fit(from.URL+"/gw.img?sig=s3cr3t", image))
					got := update(t, from, dir, filepath.Join(dir, "update.yaml"), command)
					if got.State != c.state {
						t.Errorf("ended %s (%s, %s), want %s", got.State, got.Code, got.Message, c.state)
					}
					if got.Code != "" {
						t.Logf("%s: %s", got.Code, got.Message)
					}
					if c.spoil {
						image = nil
					}
					slots(t, dir, c.active, old, image)
					if !strings.Contains(from.ranges["/gw.img"], "bytes=") {
						t.Errorf("the file was fetched from its beginning again: %q", from.ranges["/gw.img"])
					}
				})
			}
		})
	}
}

// A check value of a call is compared, and one that cannot be compared is no reason
// to do without.
func TestPlanesCheckValue(t *testing.T) {
	config, all := conversation(t, "../control/azurehub/testdata/check-value.txt")
	for i, want := range []engine.EndState{engine.Succeeded, engine.RolledBack} {
		dir, from := filepath.Join(planes(t), "azurehub"), serve(t)
		old, image := system("1.0.0", "ok"), system("2.0", "ok")
		writeFile(t, filepath.Join(dir, "slot-a.img"), old)
		from.put("/gw.img", image)
		command := ask(t, dialectOf(t, "azurehub", config), all, i+1, fit(from.URL+"/gw.img", image))
		got := update(t, from, dir, filepath.Join(dir, "update.yaml"), command)
		if got.State != want {
			t.Errorf("inputs %v: ended %s (%s, %s), want %s", command.Inputs, got.State, got.Code, got.Message, want)
		}
		if want == engine.Succeeded {
			slots(t, dir, "b", old, image)
			continue
		}
		t.Log(got.Code, got.Message)
		slots(t, dir, "a", old, nil)
	}
}

// With release.yaml and a device that wants signatures, the address in any
// plane's message is that of a release, and what nobody signed is refused.
func TestPlanesRelease(t *testing.T) {
	key, public, err := trust.NewKey(cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range slotTalks {
		t.Run(tt.plane+"/"+tt.talk, func(t *testing.T) {
			root, from := planes(t), serve(t)
			dir := filepath.Join(root, tt.plane)
			old, image := system("1.0.0", "ok"), system("7.7", "ok")
			text := string(readFile(t, filepath.Join(dir, "device.yaml")))
			text = regexp.MustCompile(`trust: .*`).ReplaceAllString(text, "trust: {require: signature, keys: [maker.pub]}")
			writeFile(t, filepath.Join(dir, "device.yaml"), []byte(text))
			writeFile(t, filepath.Join(dir, "maker.pub"), public.Encode())
			writeFile(t, filepath.Join(dir, "slot-a.img"), old)
			sum := sha256.Sum256(image)
			release, err := (&trust.Release{Updraft: trust.ReleaseFormat, Name: "gateway", Version: "7.7",
				Artifacts: []trust.Artifact{{Name: "image", Size: int64(len(image)), SHA256: hex.EncodeToString(sum[:]), URL: "gw.img"}}}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			signature, err := trust.Sign(bytes.NewReader(release), key, "gateway 7.7", "")
			if err != nil {
				t.Fatal(err)
			}
			from.put("/7.7/release.json", release)
			from.put("/7.7/gw.img", image)

			config, all := conversation(t, filepath.Join("../control", tt.plane, "testdata", tt.talk))
			command := ask(t, dialectOf(t, tt.plane, config), all, 1, fit(from.URL+"/7.7/release.json?sig=s3cr3t", release))
			for _, flow := range []string{filepath.Join(dir, "update.yaml"), filepath.Join(root, "release.yaml")} {
				got := update(t, from, dir, flow, control.Command{ID: filepath.Base(flow), Inputs: command.Inputs})
				if got.State == engine.Succeeded {
					t.Fatalf("%s took what nobody has signed", filepath.Base(flow))
				}
				t.Logf("%s: %s (%s, %s)", filepath.Base(flow), got.State, got.Code, got.Message)
				slots(t, dir, "a", old, nil)
			}
			from.put("/7.7/release.json.minisig", signature)
			if got := update(t, from, dir, filepath.Join(root, "release.yaml"), command); got.State != engine.Succeeded {
				t.Errorf("ended %s (%s, %s)", got.State, got.Code, got.Message)
			}
			slots(t, dir, "b", old, image)
		})
	}
}

// An Alibaba upgrade may be a difference to what runs, and is of no use to
// a device that runs something else.
func TestPlanesAliyunDifference(t *testing.T) {
	for _, tt := range []struct {
		name, runs string
		state      engine.EndState
		active     string
	}{
		{"to what runs", "1.0.0", engine.Succeeded, "b"},
		{"to something else", "0.9", engine.RolledBack, "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, from := filepath.Join(planes(t), "aliyunota"), serve(t)
			runs, base, image := system(tt.runs, "ok"), system("1.0.0", "ok"), system("2.0.0", "ok")
			patch := difference(t, base, image)
			writeFile(t, filepath.Join(dir, "slot-a.img"), runs)
			from.put("/fw.udelta", patch)
			config, all := conversation(t, "../control/aliyunota/testdata/success.txt")
			meant := fit(from.URL+"/fw.udelta?sig=s3cr3t", patch)
			change := func(text string) string { return strings.Replace(meant(text), `"isDiff": 0`, `"isDiff": 1`, 1) }
			got := update(t, from, dir, filepath.Join(dir, "update.yaml"), ask(t, dialectOf(t, "aliyunota", config), all, 1, change))
			if got.State != tt.state {
				t.Errorf("ended %s (%s, %s), want %s", got.State, got.Code, got.Message, tt.state)
			}
			if tt.state == engine.Succeeded {
				slots(t, dir, "b", runs, image)
				return
			}
			t.Logf("%s: %s", got.Code, got.Message)
			slots(t, dir, "a", runs, nil)
		})
	}
}

// difference makes a patch.
func difference(t *testing.T, old, new []byte) []byte {
	t.Helper()
	format, err := delta.Lookup("udelta")
	if err != nil {
		t.Fatal(err)
	}
	var patch bytes.Buffer
	section := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	if _, err := delta.Make(t.Context(), format, &patch, section(old), section(new), delta.Options{}); err != nil {
		t.Fatal(err)
	}
	return patch.Bytes()
}
