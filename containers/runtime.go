package containers

import (
	"context"
)

// Runtime keeps the wanted pods running. Its methods may be called at any time
// and from any goroutine.
type Runtime struct {
	opts Options
}

// New makes a Runtime; nothing happens before Run.
func New(opts Options) *Runtime { return &Runtime{opts: opts} }

// Run supervises the pods until ctx ends, and leaves them running.
func (r *Runtime) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Set says which pods there should be: all of them. The difference is applied.
// Until the first call nothing is started and nothing is removed.
func (r *Runtime) Set(pods []Spec) {}

// Status of every pod, in order of name.
func (r *Runtime) Status() []Status { return nil }

// Changed is ready (once) after any change of Status.
func (r *Runtime) Changed() <-chan struct{} { return nil }
