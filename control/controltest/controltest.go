// Package controltest plays conversations, written as text, against a
// [control.Dialect]: the files are the tests and the documentation of a cloud
// at the same time.
//
// [Run] plays every *.txt file of a folder, [Fuzz] plays anything. A file
// holds one idea, and its first line says which:
//
//	# A cloud asks for an update, and hears that it went well.
//	config device=gw-1
//	secret s3cr3t
//
//	0s -> connected
//	   <- subscribe state/gw-1/update/delta qos=1
//	2s -> message state/gw-1/update/delta #1 qos=1
//	      {"state": {"softwareURL": "https://h/v2?s3cr3t", "jobID": "j-17"}}
//	   <- command update j-17 token=ask
//	      {"url": "https://h/v2?s3cr3t"}
//	2s -> receipt ask new run=run-1
//	   <- handled #1
//	state {"jobs": [{"id": "j-17", "run": "run-1"}]}
//	restart
//
// A line with -> goes in, at a time since the beginning. The lines with <-
// below it are all that comes out, in order: one more or one less is a failure,
// and its message shows the whole answer in the notation of the file. No file
// is ever rewritten. Indented lines without an arrow are the payload of the line above. Payloads
// that are JSON are compared as JSON: the order of keys, white space and the
// spelling of numbers do not count.
//
// In:
//
//	connected [session]
//	lost
//	message TOPIC #N [qos=Q] [retained] [fill=BYTES] [bytes="GO STRING"] + payload
//	receipt TOKEN new|joined|busy [run=ID] [refusal="WHY"]
//	event run=ID kind=KIND [step=] [state=] [done=] [total=] [code=] [text=]
//	report + an engine.Report as JSON
//	published TOKEN
//	tick TOKEN
//	response TOKEN [status=N] [err="WHY"] [header.NAME="VALUE"]… + payload
//
// Out:
//
//	subscribe TOPIC qos=Q
//	publish TOPIC qos=Q [token=TOKEN] + payload
//	request METHOD URL [token=TOKEN] [max=BYTES] [header.NAME="VALUE"]… + payload
//	command NAME ID [token=TOKEN] + the inputs as JSON
//	cancel ID
//	timer TOKEN after=DURATION
//	handled #N
//	delivered REPORT
//	log TEXT
//
// A TOKEN is a number, or a word that stands for whatever number the dialect
// gave where the word came out first. `state` compares what Save gives, `restart` makes
// the dialect anew from it, and `restart empty` without it. A `secret` must
// come out in no log line, topic, or id of a command or report.
//
// Every file is played twice and must end alike. After every step, what Save
// gives must make a dialect that saves the same, and payloads that went in are
// overwritten, so that a dialect which keeps them is caught.
package controltest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/updraft-ota/updraft/control"
)

// New makes the dialect under test from what Save gave before (nil: nothing)
// and the words of the file's config line.
type New = func(save []byte, config map[string]string) control.Dialect

// Run plays every *.txt file of the folder dir against a dialect of its own.
func Run(t *testing.T, make New, dir string) {
	t.Helper()
	files := conversations(t, dir)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			lines := read(t, file)
			first, err := play(make, lines)
			if err != nil {
				t.Fatalf("%s:%v", file, err)
			}
			again, err := play(make, lines)
			if err != nil {
				t.Fatalf("%s: played a second time: %v", file, err)
			}
			if !slices.Equal(first, again) {
				t.Errorf("%s: the same inputs gave other outputs the second time:\n got %q\nwant %q", file, again, first)
			}
		})
	}
}

func conversations(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no conversation (*.txt) in %s", dir)
	}
	return files
}

func read(t testing.TB, file string) []line {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s:%v", file, err)
	}
	return lines
}
