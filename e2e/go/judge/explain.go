package main

import (
	"fmt"
	"math"
	"slices"
)

// maxProblems bounds what is told about one history; the first few say enough.
const maxProblems = 20

// explanation says which request made which revision.
type explanation struct {
	// requests by revision, from revision 2 on.
	requests []operation
	// revisionOf the operations (by their place in the history) that changed something.
	revisionOf map[int]int64
	problems   []string
}

func (x *explanation) problem(format string, values ...any) {
	if len(x.problems) < maxProblems {
		x.problems = append(x.problems, fmt.Sprintf(format, values...))
	}
}

// explain finds the one request behind each revision that the nodes tell of. A revision that nobody
// asked for, an acknowledged write that has none, and nodes that differ are problems.
func explain(h history) explanation {
	x := explanation{revisionOf: map[int]int64{}}
	log := x.commonLog(h.Logs)
	x.placeAnswered(h.Operations, log)
	x.placeDoubtful(h.Operations, log)
	byRevision := map[int64]operation{}
	for place, revision := range x.revisionOf {
		byRevision[revision] = h.Operations[place]
	}
	for _, e := range log {
		request, found := byRevision[e.Revision]
		if !found {
			x.problem("nobody asked for the change of %s at revision %d", e.Key, e.Revision)
			continue
		}
		x.requests = append(x.requests, request)
	}
	return x
}

// commonLog is what all nodes tell; they must agree, and leave no revision out.
func (x *explanation) commonLog(logs []nodeLog) []event {
	if len(logs) == 0 {
		x.problem("no node told its events")
		return nil
	}
	longest := slices.MaxFunc(logs, func(a, b nodeLog) int { return len(a.Events) - len(b.Events) })
	for _, log := range logs {
		if len(log.Events) != len(longest.Events) {
			x.problem("%s tells of %d events, %s of %d", log.Node, len(log.Events), longest.Node, len(longest.Events))
		}
		for place, e := range log.Events {
			if !same(e, longest.Events[place]) {
				x.problem("%s tells of %s at revision %d, %s of %s at %d",
					log.Node, e.Key, e.Revision, longest.Node, longest.Events[place].Key, longest.Events[place].Revision)
				break
			}
		}
	}
	for place, e := range longest.Events {
		if want := int64(place) + 2; e.Revision != want {
			x.problem("%s tells of revision %d where %d comes next", longest.Node, e.Revision, want)
			break
		}
	}
	return longest.Events
}

func same(a, b event) bool {
	return a.Key == b.Key && a.Value == b.Value && a.Deleted == b.Deleted && a.Revision == b.Revision && a.Created == b.Created
}

// placeAnswered checks that every acknowledged change stands at the revision it was acknowledged at.
func (x *explanation) placeAnswered(operations []operation, log []event) {
	owner := map[int64]int{}
	for place, o := range operations {
		if o.Answer == nil || !o.changed() {
			continue
		}
		revision := o.Answer.Revision
		if other, taken := owner[revision]; taken {
			x.problem("revision %d was acknowledged twice: for %s and %s", revision, operations[other].Key, o.Key)
			continue
		}
		owner[revision] = place
		at := revision - 2
		if at < 0 || at >= int64(len(log)) || !o.made(log[at]) {
			x.problem("lost: %s of %s was acknowledged at revision %d, which is not in the store", o.Kind, o.Key, revision)
			continue
		}
		x.revisionOf[place] = revision
	}
}

// placeDoubtful finds out which requests without an answer happened: by their unique value, or, for
// deletions, the earliest sent first (if any choice is right, this one is).
func (x *explanation) placeDoubtful(operations []operation, log []event) {
	explained := map[int64]bool{}
	for _, revision := range x.revisionOf {
		explained[revision] = true
	}
	writers := map[string]int{}
	deleters := map[string][]int{}
	for place, o := range operations {
		switch {
		case o.Answer != nil || !o.writes():
		case o.Kind == kindDelete:
			deleters[o.Key] = append(deleters[o.Key], place)
		default:
			writers[o.Value] = place
		}
	}
	for _, places := range deleters {
		slices.SortFunc(places, func(a, b int) int {
			return sign(operations[a].Call - operations[b].Call)
		})
	}
	for _, e := range log {
		if explained[e.Revision] {
			continue
		}
		if e.Deleted {
			if left := deleters[e.Key]; len(left) > 0 {
				x.revisionOf[left[0]] = e.Revision
				deleters[e.Key] = left[1:]
			}
		} else if place, found := writers[e.Value]; found && operations[place].made(e) {
			x.revisionOf[place] = e.Revision
			delete(writers, e.Value)
		}
	}
}

// latestReturn is the time by which a change at `revision` had happened for certain: somebody had an
// answer with that revision or a later one.
func latestReturn(operations []operation) func(revision int64) int64 {
	type answered struct{ revision, at int64 }
	var all []answered
	for _, o := range operations {
		if o.Answer != nil && o.Revision == 0 {
			all = append(all, answered{o.Answer.Revision, o.Return})
		}
	}
	slices.SortFunc(all, func(a, b answered) int { return sign(a.revision - b.revision) })
	earliest := int64(math.MaxInt64)
	for i := len(all) - 1; i >= 0; i-- {
		earliest = min(earliest, all[i].at)
		all[i].at = earliest
	}
	return func(revision int64) int64 {
		place, _ := slices.BinarySearchFunc(all, revision, func(a answered, r int64) int { return sign(a.revision - r) })
		if place == len(all) {
			return math.MaxInt64
		}
		return all[place].at
	}
}
