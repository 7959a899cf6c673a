package hawkbit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hawkbit"
)

var image = cloudsim.Software{File: "gateway.img", Version: "2.0"}

func TestReplace(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	done := r.order(cloudsim.Order{Verb: cloudsim.VerbReplace, Software: cloudsim.Software{File: "gateway.img", Version: "3.0"}})
	check(t, "done", done.Job+" "+done.Text, "2 action 2, forced; first the device is asked to cancel 1")
	links := r.links("gw-1")
	if links["cancelAction"] != r.base("gw-1")+"/cancelAction/1" || links["deploymentBase"] != "" {
		t.Errorf("links = %v, want cancelAction/1 and no deploymentBase", links)
	}
	check(t, "cancellation", r.get("/cancelAction/1"), `200 {"cancelAction":{"stopId":"1"},"id":"1"}`)
	check(t, "the old deployment", r.get("/deploymentBase/1").status, 404)
	check(t, "its file", r.get("/softwaremodules/1/artifacts/gateway.img").status, 404)
	check(t, "cancelled", r.says("/cancelAction/1", "closed/success"), "200")
	if links := r.links("gw-1"); !strings.HasPrefix(links["deploymentBase"], r.base("gw-1")+"/deploymentBase/2?c=") || links["cancelAction"] != "" {
		t.Errorf("links = %v, want deploymentBase/2 and no cancelAction", links)
	}
	check(t, "ends", r.ends(), "1 canceled cancelled x1")
}

// TestReplaceRejected lets the old one go on, and then comes the new one.
func TestReplaceRejected(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	r.push(nil)
	r.says("/cancelAction/1", "rejected")
	check(t, "the old one", strings.Contains(r.links("gw-1")["deploymentBase"], "/deploymentBase/1?"), true)
	r.says("/deploymentBase/1", "closed/failure")
	check(t, "the new one", strings.Contains(r.links("gw-1")["deploymentBase"], "/deploymentBase/2?"), true)
}

func TestForceQuit(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	force := cloudsim.Order{Verb: cloudsim.VerbCancel, Set: map[string]any{"force": "true"}}
	_, err := r.tryOrder(force)
	check(t, "without a cancellation", errors.Is(err, cloudsim.ErrConfig), true)
	r.order(cloudsim.Order{Verb: cloudsim.VerbCancel})
	r.order(force)
	check(t, "ends", r.ends(), "1 canceled cancelled x1")
	check(t, "links", len(r.links("gw-1")), 1) // configData
	check(t, "success is too late", r.says("/deploymentBase/1", "closed/success").status, 410)
	check(t, "ends", r.ends(), "1 canceled cancelled x1")
}

func TestRetry(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(map[string]any{"type": "soft", "name": "gateway"})
	_, err := r.tryOrder(cloudsim.Order{Verb: cloudsim.VerbRetry})
	if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), "action 1 has not ended") {
		t.Errorf("while it is active: %v, want ErrConfig", err)
	}
	r.says("/deploymentBase/1", "closed/failure")
	first := r.get("/deploymentBase/1").body
	check(t, "job", r.order(cloudsim.Order{Verb: cloudsim.VerbRetry}).Job, "2")
	second := r.get("/deploymentBase/2").body
	check(t, "software", strings.NewReplacer(`"id":"2"`, `"id":"1"`, "modules/2", "modules/1").Replace(second), first)
	check(t, "ends", r.ends(), "1 error failed x1")
}

func TestBadOrders(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Software: image, Job: "17"})
	r.says("/deploymentBase/17", "closed/success")
	push := func(set map[string]any) cloudsim.Order {
		return cloudsim.Order{Verb: cloudsim.VerbPush, Software: image, Set: set}
	}
	for _, tt := range []struct {
		name string
		o    cloudsim.Order
		want string
	}{
		{"unknown member", push(map[string]any{"colour": "red"}), `unknown member "colour" (have ["confirm" "forcetime" "metadata" "name" "part" "type" "window"])`},
		{"type", push(map[string]any{"type": "hard"}), `type is "hard", expected one of ["forced" "soft" "timeforced" "downloadonly"]`},
		{"part", push(map[string]any{"part": 7}), "part is 7, expected a text"},
		{"confirm", push(map[string]any{"confirm": "perhaps"}), "confirm is perhaps, expected true or false"},
		{"forcetime without its type", push(map[string]any{"forcetime": 5}), "forcetime belongs to the type timeforced"},
		{"its type without forcetime", push(map[string]any{"type": "timeforced"}), "forcetime belongs to the type timeforced"},
		{"forcetime", push(map[string]any{"type": "timeforced", "forcetime": "soon"}), "forcetime is soon, expected milliseconds"},
		{"window", push(map[string]any{"window": "ajar"}), "window is ajar, expected available, unavailable, or a duration"},
		{"metadata", push(map[string]any{"metadata": map[string]any{"a": 1}}), "metadata is no object of texts"},
		{"no version", cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{File: "gateway.img"}}, "a software module has a version"},
		{"no software", cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{Version: "1"}}, "expected a file, or the http or https URL of one"},
		{"password in the URL", cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{Version: "1", URL: "https://a:s3cr3t@h/f"}}, "without user and password"},
		{"URL of no file", cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{Version: "1", URL: "https://h/"}}, "names no file"},
		{"delta", cloudsim.Order{Verb: cloudsim.VerbPush, Software: image, Delta: &cloudsim.Software{URL: "https://h/d"}}, "knows no deltas"},
		{"number twice", cloudsim.Order{Verb: cloudsim.VerbPush, Software: image, Job: "17"}, "that no action of this device has"},
		{"negative number", cloudsim.Order{Verb: cloudsim.VerbPush, Software: image, Job: "-1"}, "expected a number of 1 to 2^53"},
		{"nothing to cancel", cloudsim.Order{Verb: cloudsim.VerbCancel}, "no action of this device could be cancelled"},
		{"cancel what has ended", cloudsim.Order{Verb: cloudsim.VerbCancel, Job: "17"}, "action 17 has ended as FINISHED"},
		{"cancel what is not there", cloudsim.Order{Verb: cloudsim.VerbCancel, Job: "4"}, `has no action "4"`},
		{"cancel softly", cloudsim.Order{Verb: cloudsim.VerbCancel, Set: map[string]any{"type": "soft"}}, `unknown member "type" (have ["force"])`},
		{"retry what is not there", cloudsim.Order{Verb: cloudsim.VerbRetry, Job: "4"}, "no such action to try again"},
		{"retry something else", cloudsim.Order{Verb: cloudsim.VerbRetry, Software: image}, "a retry takes all from the action"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.tryOrder(tt.o)
			if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("error = %v\nwant ErrConfig with %s", err, tt.want)
			}
		})
	}
	_, err := r.Order(context.Background(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-9", Software: image})
	if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), `there is no target "gw-9"`) {
		t.Errorf("unknown device: %v", err)
	}
	check(t, "nothing has changed", len(r.links("gw-1")), 2) // configData, installedBase
	check(t, "the next number", r.push(nil).Job, "18")
}

// TestManyActions keeps a bounded number of them, and never forgets what a device still has to answer.
func TestManyActions(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	r.says("/deploymentBase/1", "closed/success")
	for i := 2; i < 60; i++ {
		r.push(nil)
		r.says(fmt.Sprintf("/deploymentBase/%d", i), "closed/failure")
	}
	check(t, "the installed one", r.get("/installedBase/1").status, 200)
	check(t, "an old one", r.get("/installedBase/5").status, 404)
	for range 31 {
		r.push(nil)
	}
	_, err := r.tryOrder(cloudsim.Order{Verb: cloudsim.VerbPush, Software: image})
	if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), "too many actions") {
		t.Errorf("error = %v, want ErrConfig: too many actions", err)
	}
}

func TestDownload(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	done := r.push(nil)
	check(t, "URL", done.URL, r.base("gw-1")+"/softwaremodules/1/artifacts/gateway.img")
	all := r.do("gw-1", "GET", done.URL, "")
	check(t, "all", all, "200 "+content)
	part := r.do("gw-1", "GET", done.URL, "", "Range: bytes=4-6", "If-Range: "+all.header.Get("ETag"))
	check(t, "part", part.String()+" "+part.header.Get("Content-Range"), "206 new bytes 4-6/29")
	check(t, "behind the end", r.do("gw-1", "GET", done.URL, "", "Range: bytes=29-").status, 416)
	check(t, "head", r.do("gw-1", "HEAD", done.URL, "").header.Get("Content-Length"), "29")
	sum := r.do("gw-1", "GET", done.URL+".MD5SUM", "")
	check(t, "sum", sum.String()+" "+sum.header.Get("Content-Type"), "200 "+contentMD5+"  gateway.img text/plain")
	check(t, "without a token", r.do("gw-1", "GET", done.URL, "", "Authorization: TargetToken x").status, 401)
	check(t, "by another device", r.do("gw-1", "GET", strings.Replace(done.URL, "gw-1", "gw-2", 1), "", "Authorization: TargetToken s3cr3t-2").status, 404)
	check(t, "another file", r.do("gw-1", "GET", strings.Replace(done.URL, "gateway.img", "other.img", 1), "").status, 404)
	check(t, "a way out", r.do("gw-1", "GET", strings.Replace(done.URL, "gateway.img", "..%2F..%2Fgateway.img", 1), "").status, 404)
	for _, f := range []struct {
		fault cloudsim.Fault
		want  int
	}{{cloudsim.Fault{Kind: cloudsim.FaultMissing}, 404}, {cloudsim.Fault{Kind: cloudsim.FaultMissing, Off: true}, 200}, {cloudsim.Fault{Kind: cloudsim.FaultStatus, Status: 503}, 503}, {cloudsim.Fault{Kind: cloudsim.FaultNone}, 200}} {
		if err := r.SetFault(f.fault); err != nil {
			t.Fatal(err)
		}
		check(t, string(f.fault.Kind), r.do("gw-1", "GET", done.URL, "").status, f.want)
	}
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultCut, After: 5}); err != nil {
		t.Fatal(err)
	}
	q, err := http.NewRequest("GET", done.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "TargetToken s3cr3t-1")
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	check(t, "cut", fmt.Sprint(string(body), " ", err), "the n unexpected EOF")
	_ = res.Body.Close() // it was cut
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultNone}); err != nil {
		t.Fatal(err)
	}
	r.says("/deploymentBase/1", "closed/success")
	got := r.do("gw-1", "GET", done.URL, "")
	if got.status != 404 || !strings.Contains(got.body, "SoftwareModuleNotAssignedToTargetException") {
		t.Errorf("after the end: %s, want 404", got)
	}
	check(t, "a part after the end", r.do("gw-1", "GET", done.URL, "", "Range: bytes=0-2").status, 206)
}

func TestFaultsOfOrders(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	for _, kind := range []cloudsim.FaultKind{cloudsim.FaultWrongHash, cloudsim.FaultWrongSize, cloudsim.FaultNewURL} {
		if err := r.SetFault(cloudsim.Fault{Kind: kind}); err != nil {
			t.Fatal(err)
		}
	}
	r.push(nil)
	one, two := r.get("/deploymentBase/1").body, r.get("/deploymentBase/1").body
	if strings.Contains(one, contentMD5) || !strings.Contains(one, strings.Repeat("0", 64)) || !strings.Contains(one, `"size":30`) {
		t.Errorf("deployment = %s, want wrong digests and size", one)
	}
	if one == two || !strings.Contains(one, "gateway.img?Expires=") {
		t.Errorf("deployments = %s\n%s\nwant another query each time", one, two)
	}
}

func TestSoftwareElsewhere(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	for scheme, rel := range map[string]string{"https": "download", "http": "download-http"} {
		url := scheme + "://cdn.example/a/gateway.img?sig=s3cr3t"
		done := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{URL: url, Version: "2.0", Size: 29, SHA256: contentSHA256}})
		want := `"artifacts":[{"filename":"gateway.img","hashes":{"sha256":"` + contentSHA256 + `"},"size":29,"_links":{"` + rel + `":{"href":"` + url + `"}}}]`
		if got := r.get("/deploymentBase/" + done.Job).body; !strings.Contains(got, want) {
			t.Errorf("deployment = %s, want %s", got, want)
		}
		check(t, "URL for people", done.URL, scheme+"://cdn.example/a/gateway.img")
		check(t, "its file here", r.get("/softwaremodules/"+done.Job+"/artifacts/gateway.img").status, 404)
		r.says("/deploymentBase/"+done.Job, "closed/success")
	}
}

// TestRestart kills the simulator after each step of an action and goes on with the same folder.
func TestRestart(t *testing.T) {
	cfg := cloudsim.Config{State: t.TempDir(), Files: t.TempDir()}
	write(t, cfg.Files+"/gateway.img", content)
	r := startRig(t, cfg)
	again := func() {
		r.close()
		r = startRig(t, cfg)
	}
	r.do("gw-1", "PUT", "/configData", `{"data":{"a":"b"}}`)
	r.push(map[string]any{"confirm": true})
	again()
	check(t, "confirmed", r.do("gw-1", "POST", "/confirmationBase/1/feedback", `{"confirmation":"confirmed"}`), "200")
	again()
	check(t, "deployment", r.get("/deploymentBase/1").status, 200)
	r.push(nil)
	again()
	check(t, "links", strings.Join(strings.Fields(fmt.Sprint(r.links("gw-1"))), ""), "map[cancelAction:"+r.base("gw-1")+"/cancelAction/1]")
	check(t, "cancelled", r.says("/cancelAction/1", "closed/success"), "200")
	again()
	check(t, "closed", r.says("/deploymentBase/2", "closed/success"), "200")
	again()
	check(t, "closed again", r.says("/deploymentBase/2", "closed/success").status, 410)
	check(t, "ends", r.ends(), "1 canceled cancelled x1, 2 finished succeeded x2")
	check(t, "the next number", r.push(nil).Job, "3")
	r.close()
}

// TestFullDisk takes no report that it cannot keep.
func TestFullDisk(t *testing.T) {
	state := t.TempDir()
	r := newRig(t, cloudsim.Config{State: state})
	r.push(nil)
	folder := state + "/devices"
	if err := os.Rename(folder, folder+"-away"); err != nil {
		t.Fatal(err)
	}
	check(t, "deployment", r.get("/deploymentBase/1").status, 500)
	check(t, "end", r.says("/deploymentBase/1", "closed/success").status, 500)
	check(t, "ends", r.ends(), "")
	if _, err := r.tryOrder(cloudsim.Order{Verb: cloudsim.VerbCancel}); !errors.Is(err, cloudsim.ErrState) {
		t.Errorf("order: %v, want ErrState", err)
	}
	if err := os.Rename(folder+"-away", folder); err != nil {
		t.Fatal(err)
	}
	check(t, "end", r.says("/deploymentBase/1", "closed/success").status, 200)
	check(t, "ends", r.ends(), "1 finished succeeded x1")
}

// TestManyDevices updates them all with one order, at the same time.
func TestManyDevices(t *testing.T) {
	const n = 100
	many := cloudsim.Accounts{Devices: map[string]string{}}
	for i := range n {
		many.Devices[fmt.Sprintf("gw-%d", i)] = "s3cr3t"
	}
	cloud, err := hawkbit.New(hawkbit.Config{Accounts: many})
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	write(t, files+"/gateway.img", content)
	sim, err := cloudsim.Start(cloudsim.Config{State: t.TempDir(), Files: files}, cloud)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	done, err := sim.Order(context.Background(), cloudsim.Order{Verb: cloudsim.VerbPush, All: true, Software: image})
	if err != nil || len(done) != n {
		t.Fatalf("%d orders, %v", len(done), err)
	}
	var work sync.WaitGroup
	for _, d := range done {
		work.Go(func() {
			base := "/DEFAULT/controller/v1/" + d.Device
			for _, step := range []string{"GET ", "GET /deploymentBase/" + d.Job, "GET /softwaremodules/" + d.Job + "/artifacts/gateway.img", "POST /deploymentBase/" + d.Job + "/feedback"} {
				method, path, _ := strings.Cut(step, " ")
				q := httptest.NewRequest(method, base+path, strings.NewReader(`{"status":{"execution":"closed","result":{"finished":"success"}}}`))
				q.Header.Set("Authorization", "TargetToken s3cr3t")
				q.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				cloud.ServeHTTP(w, q)
				if w.Code != http.StatusOK {
					t.Errorf("%s %s: %d %s", d.Device, step, w.Code, w.Body)
				}
			}
		})
	}
	work.Wait()
	jobs := map[string]bool{}
	for _, d := range done {
		jobs[d.Job] = true
		record, _ := sim.Book().Look(d.Device)
		if len(record.Ends) != 1 || record.Ends[0].Job != d.Job || record.Ends[0].Outcome != cloudsim.Succeeded {
			t.Errorf("%s: ends = %v, want success of %s", d.Device, record.Ends, d.Job)
		}
	}
	check(t, "different actions", len(jobs), n)
}
