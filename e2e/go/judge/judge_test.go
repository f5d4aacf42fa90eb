package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// store is a correct store of one process: what it says makes a good history, which the tests spoil.
type store struct {
	revision int64
	pairs    map[string]pair
	log      []event
	clock    int64
	history  history
}

func newStore() *store {
	s := &store{revision: 1, pairs: map[string]pair{}}
	s.read(1, "k0")
	return s
}

func (s *store) tick() int64 {
	s.clock += 1000
	return s.clock
}

func (s *store) say(o operation, a answer) {
	o.Call = s.tick()
	o.Return = s.tick()
	o.Answer = &a
	s.history.Operations = append(s.history.Operations, o)
}

func (s *store) change(e event) {
	s.revision++
	e.Revision = s.revision
	before, there := s.pairs[e.Key]
	if there {
		e.Previous = &before
	}
	if e.Deleted {
		delete(s.pairs, e.Key)
	} else {
		e.Created = !there
		s.pairs[e.Key] = pair{Key: e.Key, Value: e.Value, Revision: s.revision, Version: before.Version + 1}
	}
	s.log = append(s.log, e)
}

func (s *store) put(client int, key, value string) {
	s.change(event{Key: key, Value: value})
	s.say(operation{Client: client, Kind: kindPut, Key: key, Value: value}, answer{Revision: s.revision})
}

func (s *store) remove(client int, key string) {
	s.change(event{Key: key, Deleted: true})
	s.say(operation{Client: client, Kind: kindDelete, Key: key}, answer{Revision: s.revision, Deleted: 1})
}

func (s *store) swap(client int, key, value string) {
	expected := s.pairs[key].Revision
	s.change(event{Key: key, Value: value})
	s.say(operation{Client: client, Kind: kindSwap, Key: key, Value: value, Expected: expected}, answer{Revision: s.revision, Succeeded: true})
}

func (s *store) read(client int, key string) {
	a := answer{Revision: s.revision}
	if found, there := s.pairs[key]; there {
		a.Pairs, a.Count = []pair{found}, 1
	}
	s.say(operation{Client: client, Kind: kindRead, Key: key}, a)
}

// example is a good history: puts, a swap, a deletion, reads, and one watch that saw it all.
func example() history {
	s := newStore()
	for i := range 6 {
		s.put(1, fmt.Sprintf("k%d", i%2), fmt.Sprintf("a%d", i))
		s.read(2, "k0")
		s.swap(3, "k1", fmt.Sprintf("b%d", i))
	}
	s.remove(1, "k0")
	s.read(2, "k0")
	s.put(1, "k0", "again")
	s.read(2, "k0")
	w := watch{Client: 9, Key: "k", Revision: 2}
	for _, e := range s.log {
		w.Responses = append(w.Responses, response{Revision: e.Revision, Events: []event{e}})
	}
	s.history.Watches = []watch{w}
	s.history.Arrive = []int{9}
	s.history.Logs = []nodeLog{{Node: "db-1", Events: s.log}, {Node: "db-2", Events: append([]event{}, s.log...)}}
	return s.history
}

func judged(h history) verdict {
	v, _ := judge(h, time.Minute, zap.NewNop())
	return v
}

// problemsInOrder is what is found where no order is searched for.
func problemsInOrder(h history) []string {
	x := explain(h)
	problems := append(x.problems, unfinishedWatches(h)...)
	_, more := validatedInOrder(h, x, time.Minute, zap.NewNop())
	return append(problems, more...)
}

func mustAccept(t *testing.T, h history) verdict {
	t.Helper()
	v := judged(h)
	if !v.Clean {
		t.Fatalf("rejected: %v", v.Problems)
	}
	if problems := problemsInOrder(h); len(problems) > 0 {
		t.Fatalf("rejected in the order of revisions: %v", problems)
	}
	return v
}

func mustReject(t *testing.T, h history, word string) {
	t.Helper()
	v := judged(h)
	if v.Clean {
		t.Fatal("a bad history was found clean")
	}
	if text := strings.Join(problemsInOrder(h), "; "); !strings.Contains(text, word) {
		t.Fatalf("in the order of revisions rejected for another reason: %q", text)
	}
	if text := strings.Join(v.Problems, "; "); !strings.Contains(text, word) {
		t.Fatalf("rejected for another reason: %s", text)
	}
}

func last(h *history, kind string) *operation {
	for i := len(h.Operations) - 1; i >= 0; i-- {
		if h.Operations[i].Kind == kind {
			return &h.Operations[i]
		}
	}
	panic("the example has none of kind " + kind)
}

func TestAGoodHistoryIsClean(t *testing.T) {
	mustAccept(t, example())
}

func TestALostWriteIsFound(t *testing.T) {
	h := example()
	for i := range h.Logs {
		h.Logs[i].Events = h.Logs[i].Events[:len(h.Logs[i].Events)-1]
	}
	mustReject(t, h, "lost")
}

func TestAWriteThatOneNodeLacksIsFound(t *testing.T) {
	h := example()
	h.Logs[1].Events = h.Logs[1].Events[:3]
	mustReject(t, h, "tells of")
}

func TestAStaleReadIsFound(t *testing.T) {
	h := example()
	stale := last(&h, kindRead)
	stale.Answer = &answer{Revision: 14}
	mustReject(t, h, "linearization")
}

func TestAnOldValueUnderANewRevisionIsFound(t *testing.T) {
	h := example()
	last(&h, kindRead).Answer.Pairs[0].Value = "a0"
	mustReject(t, h, "linearization")
}

func TestASwapThatShouldHaveFailedIsFound(t *testing.T) {
	h := example()
	last(&h, kindSwap).Expected = 3
	mustReject(t, h, "linearization")
}

func TestAChangeThatNobodyAskedForIsFound(t *testing.T) {
	h := example()
	last(&h, kindPut).Value = "other"
	mustReject(t, h, "lost")
}

func TestADoubledEventIsFound(t *testing.T) {
	h := example()
	responses := h.Watches[0].Responses
	h.Watches[0].Responses = append(responses[:5:5], responses[4:]...)
	mustReject(t, h, "Unique")
}

func TestADroppedEventIsFound(t *testing.T) {
	h := example()
	responses := h.Watches[0].Responses
	h.Watches[0].Responses = append(responses[:4:4], responses[5:]...)
	mustReject(t, h, "Reliable")
}

func TestEventsOutOfOrderAreFound(t *testing.T) {
	h := example()
	responses := h.Watches[0].Responses
	responses[3], responses[4] = responses[4], responses[3]
	mustReject(t, h, "Ordered")
}

func TestAnEventOfWhatNeverHappenedIsFound(t *testing.T) {
	h := example()
	h.Watches[0].Responses[4].Events = []event{{Key: "k0", Value: "ghost", Revision: 6}}
	mustReject(t, h, "watch")
}

func TestAWatchThatStopsEarlyIsFound(t *testing.T) {
	h := example()
	h.Watches[0].Responses = h.Watches[0].Responses[:4]
	mustReject(t, h, "ended at revision 5")
}

func TestAWriteInDoubtMayHaveHappened(t *testing.T) {
	h := example()
	doubtful := last(&h, kindPut)
	doubtful.Answer, doubtful.Doubt = nil, "no answer in time"
	if v := mustAccept(t, h); v.InDoubt != 1 || v.DoubtHappened != 1 {
		t.Fatalf("%+v", v)
	}
}

func TestADeletionInDoubtMayHaveHappened(t *testing.T) {
	h := example()
	doubtful := last(&h, kindDelete)
	doubtful.Answer, doubtful.Doubt = nil, "no answer in time"
	if v := mustAccept(t, h); v.DoubtHappened != 1 {
		t.Fatalf("%+v", v)
	}
}

func TestAWriteInDoubtMayNotHaveHappened(t *testing.T) {
	h := example()
	at := h.Operations[len(h.Operations)-1].Return
	h.Operations = append(h.Operations, operation{Client: 5, Kind: kindPut, Key: "k0", Value: "never", Call: at + 10, Return: at + 20, Doubt: "refused"})
	if v := mustAccept(t, h); v.InDoubt != 1 || v.DoubtHappened != 0 {
		t.Fatalf("%+v", v)
	}
}

func TestAWriteInDoubtMayNotHappenBeforeItWasSent(t *testing.T) {
	h := example()
	doubtful := last(&h, kindPut)
	doubtful.Answer, doubtful.Doubt = nil, "no answer in time"
	end := h.Operations[len(h.Operations)-1].Return
	doubtful.Call, doubtful.Return = end+10, end+20
	mustReject(t, h, "linearization")
}

func TestAnEmptyHistoryIsNotClean(t *testing.T) {
	if judged(history{}).Clean {
		t.Fatal("nothing was judged, and found clean")
	}
}
