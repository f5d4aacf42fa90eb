package main

import (
	"fmt"
	"slices"
)

// Every answer names a revision, so the order in which the store did what it was asked is known: by
// revision, the change that made it first, then whoever saw it. A history that is linearizable at all is
// so in this order. It remains to be seen that it respects real time, here, and that every answer is
// right in it, which is for porcupine and etcd's model: with the order given, that is no search.

// placed is an operation in the order of revisions.
type placed struct {
	// at is its place in the history.
	at       int
	revision int64
	changes  bool
}

// inOrder puts what happened, or was answered, in the order of revisions.
func inOrder(h history, x explanation) []placed {
	var order []placed
	for at, o := range h.Operations {
		if revision, changed := x.revisionOf[at]; changed {
			order = append(order, placed{at: at, revision: revision, changes: true})
		} else if o.Answer != nil {
			order = append(order, placed{at: at, revision: o.Answer.Revision})
		}
	}
	slices.SortStableFunc(order, func(a, b placed) int {
		switch {
		case a.revision != b.revision:
			return sign(a.revision - b.revision)
		case a.changes != b.changes:
			if a.changes {
				return -1
			}
			return 1
		default:
			return sign(h.Operations[a.at].Call - h.Operations[b.at].Call)
		}
	})
	return order
}

// againstTime names operations that stand before what was answered before they were asked for.
func againstTime(h history, order []placed) (problems []string) {
	byCall, byReturn := slices.Clone(order), slices.Clone(order)
	slices.SortFunc(byCall, func(a, b placed) int { return sign(h.Operations[a.at].Call - h.Operations[b.at].Call) })
	// Nobody was told of what has no answer.
	byReturn = slices.DeleteFunc(byReturn, func(p placed) bool { return h.Operations[p.at].Answer == nil })
	slices.SortFunc(byReturn, func(a, b placed) int { return sign(h.Operations[a.at].Return - h.Operations[b.at].Return) })
	var known int64
	next := 0
	for _, p := range byCall {
		o := h.Operations[p.at]
		for next < len(byReturn) && h.Operations[byReturn[next].at].Return < o.Call {
			known = max(known, byReturn[next].revision)
			next++
		}
		if p.revision < known || p.changes && p.revision == known {
			problems = append(problems, fmt.Sprintf(
				"linearization: %s of %s stands at revision %d, and %d had been answered before it was asked for",
				o.Kind, o.Key, p.revision, known))
		}
		if len(problems) == maxProblems {
			break
		}
	}
	return problems
}

// timesInOrder gives each operation of the order a time of its own, one after another; 0 is no time to
// etcd's checks.
func timesInOrder(order []placed) times {
	at := map[int]int64{}
	for number, p := range order {
		at[p.at] = int64(number+1) * 10
	}
	return func(place int, _ operation) (int64, int64) { return at[place], at[place] + 1 }
}

func sign(difference int64) int { return int(min(max(difference, -1), 1)) }
