package main

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/tests/v3/robustness/model"
	"go.etcd.io/etcd/tests/v3/robustness/report"
	"go.etcd.io/etcd/tests/v3/robustness/validate"
	"go.uber.org/zap"
)

// verdict is what came out, for programs and for people.
type verdict struct {
	Clean         bool     `json:"clean"`
	Operations    int      `json:"operations"`
	Acknowledged  int      `json:"acknowledged"`
	InDoubt       int      `json:"inDoubt"`
	DoubtHappened int      `json:"doubtHappened"`
	Reads         int      `json:"reads"`
	WatchEvents   int      `json:"watchEvents"`
	Revisions     int      `json:"revisions"`
	Linearizable  string   `json:"linearizable"`
	Watch         string   `json:"watch"`
	Serializable  string   `json:"serializable"`
	Seconds       float64  `json:"seconds"`
	Problems      []string `json:"problems"`
}

// judge asks porcupine, through etcd's own model and watch checks, whether the history can be that of
// one store that lost nothing and showed nothing too early. It never repairs a history.
func judge(h history, limit time.Duration, logger *zap.Logger) (verdict, validate.RobustnessResult) {
	begun := time.Now()
	x := explain(h)
	v := count(h, x)
	v.Problems = append(x.problems, unfinishedWatches(h)...)
	result, problems := validated(h, x, asSeen(h, x), limit, logger)
	by := ""
	if status := result.Linearization.Status; status == validate.Timeout || status == validate.DeadlineExceeded {
		result, problems = validatedInOrder(h, x, limit, logger)
		by = ", in the order of revisions"
	}
	v.Problems = append(v.Problems, problems...)
	v.Linearizable = result.Linearization.String() + by
	v.Watch, v.Serializable = result.Watch.String(), result.Serializable.String()
	complete := result.Linearization.Status == validate.Success && result.Watch.Status == validate.Success && result.Serializable.Status == validate.Success
	v.Clean = complete && len(v.Problems) == 0
	v.Seconds = time.Since(begun).Seconds()
	return v, result
}

// validatedInOrder judges a history that is too hard to search: in the one order that its answers allow.
func validatedInOrder(h history, x explanation, limit time.Duration, logger *zap.Logger) (validate.RobustnessResult, []string) {
	order := inOrder(h, x)
	if problems := againstTime(h, order); len(problems) > 0 {
		return validate.RobustnessResult{}, problems
	}
	return validated(h, x, timesInOrder(order), limit, logger)
}

// validated asks porcupine and etcd's checks, with operations at the times that `when` says.
func validated(h history, x explanation, when times, limit time.Duration, logger *zap.Logger) (result validate.RobustnessResult, problems []string) {
	reports := append(operationReports(h, x, when), watchReports(h)...)
	var persisted []model.EtcdRequest
	for _, o := range x.requests {
		persisted = append(persisted, o.request())
	}
	if len(persisted) == 0 {
		return result, []string{"nothing was written: there is nothing to judge"}
	}
	if reason := recovered(func() {
		result = validate.ValidateAndReturnVisualize(logger, validate.Config{ExpectRevisionUnique: true}, reports, persisted, limit)
	}); reason != "" {
		// The model refuses what no store can do, such as an event of a revision that never was.
		problems = append(problems, "the model cannot follow the history: "+reason)
	}
	if err := result.Error(); err != nil {
		problems = append(problems, err.Error())
	}
	return result, problems
}

func recovered(work func()) (reason string) {
	defer func() {
		if caught := recover(); caught != nil {
			reason = fmt.Sprint(caught)
		}
	}()
	work()
	return ""
}

func count(h history, x explanation) verdict {
	v := verdict{Operations: len(h.Operations), Revisions: len(x.requests)}
	for place, o := range h.Operations {
		switch _, happened := x.revisionOf[place]; {
		case !o.writes():
			v.Reads++
		case o.Answer != nil:
			v.Acknowledged++
		default:
			v.InDoubt++
			if happened {
				v.DoubtHappened++
			}
		}
	}
	for _, w := range h.Watches {
		for _, r := range w.Responses {
			v.WatchEvents += len(r.Events)
		}
	}
	return v
}

// unfinishedWatches names clients whose watch, resumed again and again, did not get to the end.
func unfinishedWatches(h history) (problems []string) {
	var last int64
	for _, log := range h.Logs {
		if len(log.Events) > 0 {
			last = max(last, log.Events[len(log.Events)-1].Revision)
		}
	}
	arrived := map[int]int64{}
	for _, w := range h.Watches {
		arrived[w.Client] = max(arrived[w.Client], w.Revision-1)
		for _, r := range w.Responses {
			for _, e := range r.Events {
				arrived[w.Client] = max(arrived[w.Client], e.Revision)
			}
		}
	}
	for _, client := range h.Arrive {
		if revision := arrived[client]; revision < last {
			problems = append(problems, fmt.Sprintf("the watch of client %d ended at revision %d of %d", client, revision, last))
		}
	}
	return problems
}

// times says when an operation, by its place in the history, was asked for, and when it had happened at
// the latest.
type times func(place int, o operation) (call, end int64)

// asSeen is when clients asked and had their answers; what has none had happened when somebody saw it.
func asSeen(h history, x explanation) times {
	by := latestReturn(h.Operations)
	return func(place int, o operation) (int64, int64) {
		end := o.Return
		if revision, happened := x.revisionOf[place]; happened && o.Answer == nil {
			end = by(revision)
		}
		return o.Call, max(end, o.Call+1)
	}
}

func operationReports(h history, x explanation, when times) []report.ClientReport {
	byClient := map[int][]porcupine.Operation{}
	var order []int
	// A client goes on after a write without an answer, which may still happen: from then on it is
	// another one to the model.
	fresh := 1
	for _, o := range h.Operations {
		fresh = max(fresh, o.Client+1)
	}
	now := map[int]int{}
	for place, o := range h.Operations {
		client, known := now[o.Client]
		if !known {
			client = o.Client
		}
		call, end := when(place, o)
		converted := porcupine.Operation{ClientId: client, Input: o.request(), Call: call, Return: end}
		if o.Answer != nil {
			converted.Output = o.response()
		} else if revision, happened := x.revisionOf[place]; happened {
			converted.Output = model.MaybeEtcdResponse{Persisted: true, PersistedRevision: revision}
		} else {
			// It changed nothing, or never happened; a read without an answer says nothing.
			continue
		}
		if o.Answer == nil {
			now[o.Client] = fresh
			fresh++
		}
		converted.Metadata = converted.Output
		if _, known := byClient[client]; !known {
			order = append(order, client)
		}
		byClient[client] = append(byClient[client], converted)
	}
	var reports []report.ClientReport
	for _, client := range order {
		reports = append(reports, report.ClientReport{ClientID: client, KeyValue: byClient[client]})
	}
	return reports
}

func (o operation) request() model.EtcdRequest {
	put := model.EtcdOperation{Type: model.PutOperation, Put: model.PutOptions{Key: o.Key, Value: model.ToValueOrHash(o.Value)}}
	switch o.Kind {
	case kindPut:
		return model.EtcdRequest{Type: model.Txn, Txn: &model.TxnRequest{OperationsOnSuccess: []model.EtcdOperation{put}}}
	case kindDelete:
		remove := model.EtcdOperation{Type: model.DeleteOperation, Delete: model.DeleteOptions{Key: o.Key}}
		return model.EtcdRequest{Type: model.Txn, Txn: &model.TxnRequest{OperationsOnSuccess: []model.EtcdOperation{remove}}}
	case kindSwap:
		conditions := []model.EtcdCondition{{Key: o.Key, ExpectedRevision: o.Expected}}
		return model.EtcdRequest{Type: model.Txn, Txn: &model.TxnRequest{Conditions: conditions, OperationsOnSuccess: []model.EtcdOperation{put}}}
	case kindRead:
		options := model.RangeOptions{Start: o.Key, End: o.End}
		return model.EtcdRequest{Type: model.Range, Range: &model.RangeRequest{RangeOptions: options, Revision: o.Revision}}
	default:
		panic(fmt.Sprintf("the history holds a request of kind %q", o.Kind))
	}
}

func (o operation) response() model.MaybeEtcdResponse {
	a := o.Answer
	found := model.EtcdResponse{Revision: a.Revision}
	switch o.Kind {
	case kindPut:
		found.Txn = &model.TxnResponse{Results: []model.EtcdOperationResult{{}}}
	case kindDelete:
		found.Txn = &model.TxnResponse{Results: []model.EtcdOperationResult{{Deleted: a.Deleted}}}
	case kindSwap:
		found.Txn = &model.TxnResponse{Failure: !a.Succeeded, Results: []model.EtcdOperationResult{}}
		if a.Succeeded {
			found.Txn.Results = []model.EtcdOperationResult{{}}
		}
	default:
		found.Range = &model.RangeResponse{KVs: []model.KeyValue{}, Count: a.Count}
		for _, p := range a.Pairs {
			found.Range.KVs = append(found.Range.KVs, model.KeyValue{Key: p.Key, ValueRevision: p.converted()})
		}
	}
	return model.MaybeEtcdResponse{EtcdResponse: found}
}

func (p pair) converted() model.ValueRevision {
	return model.ValueRevision{Value: model.ToValueOrHash(p.Value), ModRevision: p.Revision, Version: p.Version}
}

func watchReports(h history) []report.ClientReport {
	var reports []report.ClientReport
	for _, w := range h.Watches {
		converted := model.WatchOperation{Request: model.WatchRequest{
			Key: w.Key, Revision: w.Revision, WithPrefix: true, WithPrevKV: true, WithProgressNotify: true,
		}}
		for _, r := range w.Responses {
			one := model.WatchResponse{IsProgressNotify: r.Progress, Revision: r.Revision}
			for _, e := range r.Events {
				one.Events = append(one.Events, e.converted())
			}
			converted.Responses = append(converted.Responses, one)
		}
		reports = append(reports, report.ClientReport{ClientID: w.Client, Watch: []model.WatchOperation{converted}})
	}
	return reports
}

func (e event) converted() model.WatchEvent {
	kind := model.PutOperation
	if e.Deleted {
		kind = model.DeleteOperation
	}
	one := model.Event{Type: kind, Key: e.Key, Value: model.ToValueOrHash(e.Value)}
	found := model.WatchEvent{PersistedEvent: model.PersistedEvent{Event: one, Revision: e.Revision, IsCreate: e.Created}}
	if e.Previous != nil {
		previous := e.Previous.converted()
		found.PrevValue = &previous
	}
	return found
}
