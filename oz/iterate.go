package oz

import (
	"context"
	"iter"

	"github.com/oz-platform/cloudagents/task"
)

// Runs yields all runs that a list finds, page by page, of either service.
// q.Limit is the size of a page; q.After is where to begin. Runs that change
// meanwhile may be met again or not at all, as in every list that is sorted by
// what changes: sort by task.SortCreatedAt for each run once. After an error
// it ends.
func Runs(ctx context.Context, s Service, q task.Query) iter.Seq2[task.Task, error] {
	return func(yield func(task.Task, error) bool) {
		for {
			page, err := s.List(ctx, q)
			if err != nil {
				yield(task.Task{}, err)
				return
			}
			for _, t := range page.Tasks {
				if !yield(t, nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			q.After = page.Next
		}
	}
}
