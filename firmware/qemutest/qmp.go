package qemutest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// dial connects to one of QEMU's sockets, which it makes while it starts.
func (m *Machine) dial(ctx context.Context, name string) (net.Conn, error) {
	ended := m.Done()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "unix", m.file(name))
		if err == nil {
			return c, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("QEMU has ended: %w", m.current().err)
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to QEMU: %w", err)
		case <-time.After(pollEvery):
		}
	}
}

// qmp executes a command on QEMU's monitor; its arguments may be nil.
func (m *Machine) qmp(ctx context.Context, command string, arguments any) error {
	c, err := m.dial(ctx, "qmp")
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	in := json.NewDecoder(c)
	var greeting struct {
		QMP *json.RawMessage
	}
	if err := in.Decode(&greeting); err != nil || greeting.QMP == nil {
		return fmt.Errorf("greeting of QEMU's monitor: %w", err)
	}
	type order struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}
	for _, o := range []order{{"qmp_capabilities", nil}, {command, arguments}} {
		name := o.Execute
		if err := json.NewEncoder(c).Encode(o); err != nil {
			return fmt.Errorf("tell QEMU %s: %w", name, err)
		}
		for {
			var reply struct {
				Return *json.RawMessage
				Error  *struct{ Desc string }
			}
			if err := in.Decode(&reply); err != nil {
				return fmt.Errorf("QEMU's answer to %s: %w", name, err)
			}
			if reply.Error != nil {
				return fmt.Errorf("tell QEMU %s: %s", name, reply.Error.Desc)
			}
			if reply.Return != nil {
				break // what comes before are events
			}
		}
	}
	return nil
}
