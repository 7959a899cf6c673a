package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// results is the content of results.json.
type results struct {
	Sessions []session `json:"sessions"` // every one that a record names, by date
	Records  []record  `json:"records"`  // in the order of pairs and peers
	Crosses  []cross   `json:"crosses,omitempty"`
}

// session is one call of this program: what its records share.
type session struct {
	ID       string            `json:"id"` // its date and time
	Machine  machine           `json:"machine"`
	Speeds   speeds            `json:"speeds"`
	Load     string            `json:"load"`  // average of a minute when it began
	Floor    int64             `json:"floor"` // bytes of peak memory below which nothing is seen
	Time     float64           `json:"timeLimit"`
	Memory   int64             `json:"memoryLimit"` // bytes
	Versions map[string]string `json:"versions"`    // of peers
	Missing  map[string]string `json:"missing,omitempty"`
}

// day is the date of a session.
func (s session) day() string { return s.ID[:min(len(s.ID), len(time.DateOnly))] }

// phase is what making or applying took: medians over the rounds that ended
// well, or how it failed.
type phase struct {
	Outcome outcome `json:"outcome"`
	Words   string  `json:"words,omitempty"`
	Wall    float64 `json:"wall"`            // seconds
	CPU     float64 `json:"cpu"`             // seconds of user and system
	RSS     int64   `json:"rss"`             // bytes, peak of the largest process
	After   float64 `json:"after,omitempty"` // seconds of Wall in sha256sum and sync
}

func (p *phase) ok() bool { return p != nil && p.Outcome == ok }

// record is what one peer did with one pair.
type record struct {
	Pair    string `json:"pair"`
	Peer    string `json:"peer"`
	Session string `json:"session"`
	Rounds  int    `json:"rounds"`
	Size    int64  `json:"size,omitempty"`  // of the patch, bytes
	Solid   int64  `json:"solid,omitempty"` // of the same patch without frames, if the maker tells
	Make    phase  `json:"make"`
	Apply   *phase `json:"apply,omitempty"` // with files in the page cache
	Cold    *phase `json:"cold,omitempty"`  // after the page cache was dropped
	Pipe    *phase `json:"pipe,omitempty"`  // with the patch from a pipe
	Low     *phase `json:"low,omitempty"`   // the same in low-memory mode
	// Executables is in how many executables the patch foretells addresses,
	// if the maker tells.
	Executables int64 `json:"executables,omitempty"`
}

// cross is one program applying what another made.
type cross struct {
	Pair    string  `json:"pair"`
	Maker   string  `json:"maker"`
	Applier string  `json:"applier"`
	Session string  `json:"session"`
	Made    bool    `json:"made"` // there was a patch to apply
	Outcome outcome `json:"outcome"`
	Words   string  `json:"words,omitempty"`
}

// loadResults reads results.json; a file that is not there is empty.
func loadResults(name string) (*results, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &results{}, nil
	}
	if err != nil {
		return nil, err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &r, nil
}

func (r *results) save(name string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	temp := name + ".new"
	if err := os.WriteFile(temp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

// find gives the record of a pair and a peer, or nil.
func (r *results) find(pair, peer string) *record {
	for i := range r.Records {
		if r.Records[i].Pair == pair && r.Records[i].Peer == peer {
			return &r.Records[i]
		}
	}
	return nil
}

// session gives the session of that ID; one that is not there is empty.
func (r *results) session(id string) session {
	for _, s := range r.Sessions {
		if s.ID == id {
			return s
		}
	}
	return session{}
}

// merge takes in what a session measured; pairs gives the order. A record replaces that of the same
// pair and peer, so that all its figures are of one session.
func (r *results) merge(pairs []pair, s session, records []record, crosses []cross) {
	r.Sessions = append(slices.DeleteFunc(r.Sessions, func(o session) bool { return o.ID == s.ID }), s)
	for _, n := range records {
		if o := r.find(n.Pair, n.Peer); o != nil {
			*o = n
		} else {
			r.Records = append(r.Records, n)
		}
	}
	for _, n := range crosses {
		r.Crosses = append(slices.DeleteFunc(r.Crosses, func(o cross) bool {
			return o.Pair == n.Pair && o.Maker == n.Maker && o.Applier == n.Applier
		}), n)
	}
	used := map[string]bool{}
	for _, o := range r.Records {
		used[o.Session] = true
	}
	for _, o := range r.Crosses {
		used[o.Session] = true
	}
	r.Sessions = slices.DeleteFunc(r.Sessions, func(o session) bool { return !used[o.ID] })
	r.sort(pairs)
}

// sort puts everything into the order of the tables, so that a change of the
// file shows what was measured anew and nothing else.
func (r *results) sort(pairs []pair) {
	place := map[string]int{}
	for i, p := range pairs {
		place[p.Name] = i * len(peers)
	}
	for i, p := range peers {
		place[p.Name] = i
	}
	slices.SortStableFunc(r.Sessions, func(a, b session) int { return strings.Compare(a.ID, b.ID) })
	slices.SortStableFunc(r.Records, func(a, b record) int {
		return place[a.Pair] + place[a.Peer] - place[b.Pair] - place[b.Peer]
	})
	slices.SortStableFunc(r.Crosses, func(a, b cross) int { return place[a.Pair] - place[b.Pair] })
}
