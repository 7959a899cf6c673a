package tencent

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"
	"unicode/utf8"
)

// Whatever a device says is a report with a version that fits, or refused; and
// a state that it is applied to can be kept and read again.
func FuzzReport(f *testing.F) {
	data, err := os.ReadFile("../../tencent/testdata/examples/tencent-messages.json")
	var doc struct{ Up []json.RawMessage }
	if err = errors.Join(err, json.Unmarshal(data, &doc)); err != nil {
		f.Fatal(err)
	}
	for _, m := range doc.Up {
		f.Add([]byte(m))
	}
	f.Add([]byte(`{"type":"report_progress","report":{"progress":{"state":"downloading","percent":7},"version":"固"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := readReport(payload)
		if err != nil {
			if !errors.Is(err, errMessage) {
				t.Fatalf("readReport = %v, want a bad message", err)
			}
			return
		}
		if n := utf8.RuneCountInString(r.Version); n < 1 || n > maxVersion || !utf8.ValidString(r.Version) {
			t.Fatalf("version %q of %d characters", r.Version, n)
		}
		s := state{Task: &task{Job: "j1", State: statePending}}
		s.Task.Software.Version = r.Version
		if _, err := r.apply(&s); err != nil {
			t.Fatalf("apply = %v, want it to be of the task", err)
		}
		kept, err := json.Marshal(s)
		var again state
		if err = errors.Join(err, json.Unmarshal(kept, &again)); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%v: kept %s, which is %+v, want %+v", err, kept, again, s)
		}
	})
}
