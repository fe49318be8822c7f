package daemon

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// tasks are the goroutines beside the loop. The first that ends by an error ends all.
type tasks struct {
	group *errgroup.Group
	ctx   context.Context
}

func newTasks(ctx context.Context) *tasks {
	group, ctx := errgroup.WithContext(ctx)
	return &tasks{group, ctx}
}

// start runs a task until it is stopped, or all ends.
func (t *tasks) start(task func(context.Context) error) context.CancelFunc {
	own, stop := context.WithCancel(t.ctx)
	t.group.Go(func() error {
		if err := task(own); own.Err() == nil || t.ctx.Err() != nil {
			return err
		}
		return nil // It was stopped.
	})
	return stop
}
