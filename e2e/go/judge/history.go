package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// history is everything that clients of one run saw. Times are nanoseconds of one monotonic clock.
type history struct {
	Operations []operation `json:"operations"`
	Watches    []watch     `json:"watches"`
	// Logs holds every event from the first revision on, as each node told it at the end.
	Logs []nodeLog `json:"logs"`
	// Arrive lists the clients whose watch must get to the end.
	Arrive []int `json:"arrive"`
}

// operation is one request and what became of it.
type operation struct {
	Client int    `json:"client"`
	Call   int64  `json:"call"`
	Return int64  `json:"return"`
	Kind   string `json:"kind"`
	Key    string `json:"key"`
	// End is the end of the range of a list.
	End string `json:"end"`
	// Value is unique among all writes of a run.
	Value string `json:"value"`
	// Expected is the revision that a compare-and-swap asks for; 0 asks for no key.
	Expected int64 `json:"expected"`
	// Revision is the one a read asks for; 0 is the newest, and linearizable.
	Revision int64 `json:"revision"`
	// Answer is missing when the outcome is not known.
	Answer *answer `json:"answer"`
	Doubt  string  `json:"doubt"`
}

// The kinds of operations.
const (
	kindPut    = "put"
	kindDelete = "delete"
	kindSwap   = "swap"
	kindRead   = "read"
)

type answer struct {
	Revision  int64  `json:"revision"`
	Pairs     []pair `json:"pairs"`
	Count     int64  `json:"count"`
	Deleted   int64  `json:"deleted"`
	Succeeded bool   `json:"succeeded"`
}

type pair struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Revision int64  `json:"revision"`
	Version  int64  `json:"version"`
}

// watch is one stream; one that ended is followed by another of the same client.
type watch struct {
	Client    int        `json:"client"`
	Key       string     `json:"key"`
	Revision  int64      `json:"revision"`
	Responses []response `json:"responses"`
}

type response struct {
	Revision int64   `json:"revision"`
	Progress bool    `json:"progress"`
	Events   []event `json:"events"`
}

type event struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Deleted  bool   `json:"deleted"`
	Revision int64  `json:"revision"`
	Created  bool   `json:"created"`
	Previous *pair  `json:"previous"`
}

type nodeLog struct {
	Node   string  `json:"node"`
	Events []event `json:"events"`
}

func readHistory(file string) (history, error) {
	var found history
	text, err := os.ReadFile(file)
	if err != nil {
		return found, fmt.Errorf("read the history: %w", err)
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return found, fmt.Errorf("the history in %s: %w", file, err)
	}
	return found, nil
}

func (o operation) writes() bool { return o.Kind != kindRead }

// changed tells whether an answered request made a revision.
func (o operation) changed() bool {
	switch o.Kind {
	case kindPut:
		return true
	case kindDelete:
		return o.Answer.Deleted > 0
	case kindSwap:
		return o.Answer.Succeeded
	default:
		return false
	}
}

// made tells whether an event is what the request would do.
func (o operation) made(e event) bool {
	if o.Key != e.Key {
		return false
	}
	if o.Kind == kindDelete {
		return e.Deleted
	}
	return !e.Deleted && o.Value == e.Value
}
