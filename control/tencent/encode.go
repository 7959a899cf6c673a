package tencent

import "strconv"

// state is the member progress of a report_progress. The cloud wants numbers as text.
type state struct {
	State   string `json:"state"`             // downloading, burning, done, fail
	Percent string `json:"percent,omitempty"` // of the download
	Code    string `json:"result_code"`
	Message string `json:"result_msg"`
}

func encodeProgress(version string, s state) []byte {
	if s.Code == "" {
		s.Code = "0"
	}
	type report struct {
		Progress state  `json:"progress"`
		Version  string `json:"version"` // that is being installed
	}
	return marshal(struct {
		Type   string `json:"type"`
		Report report `json:"report"`
	}{typeProgress, report{s, version}})
}

func encodeVersion(version string) []byte {
	type report struct {
		Version string `json:"version"` // that runs
	}
	return marshal(struct {
		Type   string `json:"type"`
		Report report `json:"report"`
	}{typeVersion, report{version}})
}

// payload writes the end of a version.
func (e *ending) payload(version string) []byte {
	if e.Code == 0 {
		return encodeProgress(version, state{State: "done"})
	}
	return encodeProgress(version, state{State: "fail", Code: strconv.Itoa(e.Code), Message: e.Text})
}
