// Package laws judges the record of a run: what must hold whatever died, was
// cut off or came twice while it was made. A store's tests, the chaos test and
// a platform in production hold their runs against the same laws.
//
//	for _, v := range laws.Check(laws.Record{Task: t, Executions: xs, Events: events}) {
//		fmt.Println(v)
//	}
//
// Check is a pure function and safe for concurrent use.
package laws

import (
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Law is one thing that must hold.
type Law string

// The laws that one run's record can show.
const (
	// Gapless: events are numbered 1, 2, 3 and so on, up to the run's last. Of a
	// pruned log only this is checked.
	Gapless Law = "gapless"
	// EndedOnce: states follow each other by the table, so that a run that
	// has ended ends again only after a person took it up, and the last state
	// of the log is the run's.
	EndedOnce Law = "ended_once"
	// DeliveredOnce: each message reaches the agent's conversation at most
	// once, and a run that succeeded has left none out.
	DeliveredOnce Law = "delivered_once"
	// ToolOnce: each tool call of the agent has at most one result.
	ToolOnce Law = "tool_once"
	// EffectOnce: each outward effect is settled at most once, and none was
	// settled that was not intended before.
	EffectOnce Law = "effect_once"
	// ArtifactOnce: a run lists each artifact once.
	ArtifactOnce Law = "artifact_once"
	// OneLease: one execution at a time may write.
	OneLease Law = "one_lease"
)

// All lists the laws.
func All() []Law {
	return []Law{Gapless, EndedOnce, DeliveredOnce, ToolOnce, EffectOnce, ArtifactOnce, OneLease}
}

// Record is what a store has of a run, read in this order: Events may hold
// more than Task knew, but not less. Events alone will do, without what only
// Task and Executions can show.
type Record struct {
	Task       task.Task        // the run
	Executions []task.Execution // oldest first
	Events     []task.Event     // the whole log
}

// Violation is a broken law.
type Violation struct {
	Law    Law     // which
	Run    task.ID // whose record
	Detail string  // what was found
}

// String names the law, the run and what was found.
func (v Violation) String() string { return fmt.Sprintf("%s: run %s: %s", v.Law, v.Run, v.Detail) }

// Check gives every violation that the record shows; nil if there is none.
func Check(r Record) []Violation {
	c := &checker{r: r}
	c.numbers()
	if r.Task.PrunedTo > 0 {
		return c.found
	}
	c.states()
	c.deliveries()
	c.tools()
	c.effects()
	c.artifacts()
	c.leases()
	return c.found
}

// Essence gives an event with what the laws look at and nothing more, so that
// the whole log of a run fits into memory.
func Essence(e task.Event) task.Event {
	switch p := e.Payload.(type) {
	case *task.StateChanged:
		e.Payload = &task.StateChanged{From: p.From, To: p.To}
	case *task.Input:
		e.Payload = &task.Input{}
	case *task.Delivered: // small
	case *task.ToolResult:
		e.Payload = &task.ToolResult{CallID: p.CallID}
	case *task.Effect:
		e.Payload = &task.Effect{Key: p.Key, State: p.State}
	default:
		e.Payload = nil
	}
	return e
}

type checker struct {
	r     Record
	found []Violation
}

func (c *checker) report(l Law, format string, args ...any) {
	c.found = append(c.found, Violation{Law: l, Run: c.r.Task.ID, Detail: fmt.Sprintf(format, args...)})
}

func (c *checker) numbers() {
	for i, e := range c.r.Events {
		if want := c.r.Task.PrunedTo + int64(i+1); e.Seq != want {
			c.report(Gapless, "event %d stands where %d belongs", e.Seq, want)
			return
		}
	}
	if n := c.r.Task.PrunedTo + int64(len(c.r.Events)); n < c.r.Task.LastSeq {
		c.report(Gapless, "the log ends at %d and the run says %d", n, c.r.Task.LastSeq)
	}
}

func (c *checker) states() {
	var now task.State
	settled := now // as of the event that Task knew last
	for _, e := range c.r.Events {
		s, ok := e.Payload.(*task.StateChanged)
		if !ok {
			continue
		}
		if s.From != now || !now.CanBecome(s.To) {
			c.report(EndedOnce, "event %d goes from %q to %q, the run was %q", e.Seq, s.From, s.To, now)
		}
		now = s.To
		if e.Seq <= c.r.Task.LastSeq {
			settled = now
		}
	}
	if settled != c.r.Task.State {
		c.report(EndedOnce, "the log says %q and the run %q", settled, c.r.Task.State)
	}
}

func (c *checker) deliveries() {
	inputs, delivered := map[int64]bool{}, map[int64]int64{}
	for _, e := range c.r.Events {
		switch p := e.Payload.(type) {
		case *task.Input:
			inputs[e.Seq] = true
		case *task.Delivered:
			for _, seq := range p.Inputs {
				if !inputs[seq] {
					c.report(DeliveredOnce, "event %d delivers %d, which is no message before it", e.Seq, seq)
				}
				if first := delivered[seq]; first != 0 {
					c.report(DeliveredOnce, "message %d is delivered by event %d and again by %d", seq, first, e.Seq)
				}
				delivered[seq] = e.Seq
			}
		}
	}
	if c.r.Task.State != task.StateSucceeded {
		return
	}
	for seq := range inputs {
		if delivered[seq] == 0 && seq <= c.r.Task.LastSeq {
			c.report(DeliveredOnce, "the run succeeded and message %d was never delivered", seq)
		}
	}
}

func (c *checker) tools() {
	results := map[string]int64{}
	for _, e := range c.r.Events {
		p, ok := e.Payload.(*task.ToolResult)
		// A setup command that was cut off runs again; it is no call of the agent.
		if !ok || strings.HasPrefix(p.CallID, "setup-") {
			continue
		}
		if first := results[p.CallID]; first != 0 {
			c.report(ToolOnce, "the call %s has results in event %d and in %d", p.CallID, first, e.Seq)
		}
		results[p.CallID] = e.Seq
	}
}

func (c *checker) effects() {
	intended, settled := map[string]bool{}, map[string]int64{}
	for _, e := range c.r.Events {
		p, ok := e.Payload.(*task.Effect)
		if !ok {
			continue
		}
		switch p.State {
		case task.EffectIntended:
			intended[p.Key] = true
		case task.EffectSettled:
			if !intended[p.Key] {
				c.report(EffectOnce, "event %d settles %s, which nobody intended", e.Seq, p.Key)
			}
			if first := settled[p.Key]; first != 0 {
				c.report(EffectOnce, "%s is settled by event %d and again by %d", p.Key, first, e.Seq)
			}
			settled[p.Key] = e.Seq
		}
	}
}

func (c *checker) artifacts() {
	seen := map[string]bool{}
	for _, a := range c.r.Task.Artifacts {
		if seen[a.UID] {
			c.report(ArtifactOnce, "artifact %s is listed twice", a.UID)
		}
		seen[a.UID] = true
	}
}

// leases checks that executions followed each other: by their times, and by
// the order of what they wrote.
func (c *checker) leases() {
	live, number := 0, map[task.ExecutionID]int{}
	for i, x := range c.r.Executions {
		number[x.ID] = x.Number
		if x.Live() {
			live++
		}
		if x.Number != i+1 {
			c.report(OneLease, "execution %s has the number %d and is the %d.", x.ID, x.Number, i+1)
		}
	}
	if live > 1 {
		c.report(OneLease, "%d executions are live", live)
	}
	last := 0
	for _, e := range c.r.Events {
		if e.ExecutionID == "" {
			continue
		}
		n, known := number[e.ExecutionID]
		switch {
		case !known && e.Seq <= c.r.Task.LastSeq:
			c.report(OneLease, "event %d is by %s, which is no execution of the run", e.Seq, e.ExecutionID)
		case known && n < last:
			c.report(OneLease, "event %d is by execution %d after execution %d has written", e.Seq, n, last)
		}
		last = max(last, n)
	}
}
