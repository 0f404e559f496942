package storetest

import (
	"slices"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// placeCases run for stores that implement task.Placer.
var placeCases = []testCase{
	{name: "OffersWhatWaits", run: placeOffers},
	{name: "RefusesUsedExecutions", run: placeRefuses},
	{name: "OneOfManyGetsEach", run: placeOnce},
}

// placer skips the case for stores that offer runs one by one.
func (f *fixture) placer() task.Placer {
	f.Helper()
	p, ok := f.s.(task.Placer)
	if !ok {
		f.Skip("the store is no task.Placer")
	}
	return p
}

func placement(id task.ID) task.Placement {
	return task.Placement{ID: id, Offer: offer(task.NewExecutionID())}
}

func placeOffers(f *fixture) {
	p := f.placer()
	one, two := f.create(nil), f.create(func(c *task.Creation) { c.Spec.Metadata = map[string]string{"a": "b"} })
	again, x := f.working(nil)
	f.do(again.ID, task.Append{Execution: x, Events: []task.Event{{Payload: &task.ArtifactReported{
		Artifact: task.Artifact{UID: "plan", Type: task.ArtifactPlan, CreatedAt: start}}}}})
	f.do(again.ID, task.Release{Execution: x, Reason: "lost", ReadyAt: start})
	working, _ := f.working(nil)
	ended := f.ended(0, task.StateSucceeded)
	before := f.get(working.ID)
	offers := []task.Placement{placement(two.ID), placement(working.ID), placement(newID()), placement(again.ID), placement(ended), placement(one.ID)}
	placed, err := p.Place(f.ctx(), offers)
	assert.NilError(f, err)
	assert.DeepEqual(f, idsOf(placed), []task.ID{two.ID, again.ID, one.ID})
	for _, t := range placed {
		i := slices.IndexFunc(offers, func(o task.Placement) bool { return o.ID == t.ID })
		assert.DeepEqual(f, t, f.get(t.ID))
		assert.Equal(f, t.Execution, offers[i].Offer.Execution)
		e, err := f.s.Execution(f.ctx(), t.Execution)
		assert.NilError(f, err)
		assert.Equal(f, e.State, task.ExecutionOffered)
		assert.Equal(f, e.TaskID, t.ID)
		assert.DeepEqual(f, e.TokenHash, offers[i].Offer.TokenHash)
	}
	assert.DeepEqual(f, f.get(working.ID), before)
	assert.Equal(f, len(f.waiting(start.Add(time.Hour), 10)), 0)
	none, err := p.Place(f.ctx(), nil)
	assert.NilError(f, err)
	assert.Equal(f, len(none), 0)
}

func placeRefuses(f *fixture) {
	p := f.placer()
	used, x := f.working(nil)
	free := f.create(nil)
	for _, second := range []task.ExecutionID{x, ""} {
		_, err := p.Place(f.ctx(), []task.Placement{placement(free.ID), {ID: used.ID, Offer: offer(second)}})
		want := task.CodeConflict
		if second == "" {
			want = task.CodeInvalidRequest
		}
		assert.Equal(f, task.CodeOf(err), want, "%v", err)
		assert.DeepEqual(f, f.get(free.ID), free)
	}
}

// placeOnce has several dispatchers offer the same runs.
func placeOnce(f *fixture) {
	p := f.placer()
	const runs, dispatchers = 30, 4
	var ids []task.ID
	for range runs {
		ids = append(ids, f.create(nil).ID)
	}
	placed := make([][]task.Task, dispatchers)
	var all sync.WaitGroup
	for i := range dispatchers {
		all.Go(func() {
			for range 3 { // what was left out for another's sake may wait still
				var offers []task.Placement
				for _, id := range ids {
					offers = append(offers, placement(id))
				}
				got, err := p.Place(f.ctx(), offers)
				assert.Check(f, err)
				placed[i] = append(placed[i], got...)
			}
		})
	}
	all.Wait()
	assert.DeepEqual(f, sorted(idsOf(slices.Concat(placed...))), sorted(ids))
	for _, id := range ids {
		assert.Equal(f, f.get(id).Executions, 1)
	}
}
