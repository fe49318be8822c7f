package bfd

import (
	"context"
	"encoding/json"
	"net"
	"time"

	"netd/netd/wake"
)

// caller is an agent that is connected to the process. One goroutine reads what it
// says, another one writes to it and is the only one to wait if it does not read.
type caller struct {
	conn       net.Conn
	leave      context.CancelFunc // ends both goroutines
	news, beat wake.Signal        // what it is to be told
	beats      bool               // it wants to hear beats; serve's
}

func newCaller(ctx context.Context, conn net.Conn, m *Monitor, requests chan<- heard) *caller {
	ctx, stop := context.WithCancel(ctx)
	c := &caller{conn: conn, leave: stop, news: wake.New(), beat: wake.New()}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	c.news.Send()
	go c.listen(ctx, requests)
	go c.tell(ctx, m)
	return c
}

// listen passes the agent's requests on until it is gone.
func (c *caller) listen(ctx context.Context, requests chan<- heard) {
	for in := json.NewDecoder(c.conn); ; {
		h := heard{from: c, request: new(request)}
		if err := in.Decode(h.request); err != nil {
			h.request = nil
		}
		select {
		case requests <- h:
		case <-ctx.Done():
			return
		}
		if h.request == nil {
			return
		}
	}
}

// tell tells the agent all when there is news. One that does not read it will connect
// again.
func (c *caller) tell(ctx context.Context, m *Monitor) {
	out := json.NewEncoder(c.conn)
	for {
		r := report{Version: protocol, Beats: true}
		select {
		case <-ctx.Done():
			return
		case <-c.beat:
			r.Beat = true
		case <-c.news:
			var problem error
			if r.Statuses, problem = m.Statuses(); problem != nil {
				r.Problem = problem.Error()
			}
		}
		err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			err = out.Encode(r)
		}
		if err != nil {
			_ = c.conn.Close() // listen sees it.
			return
		}
	}
}
