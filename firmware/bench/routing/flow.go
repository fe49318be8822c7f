package main

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"netd/firmware/lab"
)

// flowRate is how many packets a flow sends in a second.
const flowRate = 1000

// flow is a stream of numbered packets from one host to an address that several
// hosts have: whoever gets one, it is not lost.
type flow struct {
	stop  chan struct{}
	sent  chan int
	sinks []*net.UDPConn

	mu   sync.Mutex // guards what follows
	got  map[uint64]bool
	last []time.Time // when each sink last got one
}

// startFlow begins to listen, and then to send.
func startFlow(from *lab.Host, to netip.AddrPort, sinks ...*lab.Host) (*flow, error) {
	f := &flow{stop: make(chan struct{}), sent: make(chan int, 1), got: map[uint64]bool{}, last: make([]time.Time, len(sinks))}
	for i, h := range sinks {
		err := inside(h, func() error {
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(to))
			if err == nil {
				f.sinks = append(f.sinks, c)
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		go f.receive(i)
	}
	var c *net.UDPConn
	err := inside(from, func() (err error) {
		c, err = net.ListenUDP("udp4", nil)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	go f.send(c, to)
	return f, nil
}

// send sends what is due, also after a pause in which it did not run.
func (f *flow) send(c *net.UDPConn, to netip.AddrPort) {
	defer func() { _ = c.Close() }()
	tick := time.NewTicker(time.Second / flowRate)
	defer tick.Stop()
	begin, n := time.Now(), 0
	for {
		select {
		case <-f.stop:
			f.sent <- n
			return
		case <-tick.C:
		}
		for due := int(time.Since(begin) * flowRate / time.Second); n < due; n++ {
			// A packet that the host itself can not send is lost like others.
			_, _ = c.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, uint64(n)), to)
		}
	}
}

func (f *flow) receive(i int) {
	buf := make([]byte, 64)
	for {
		n, err := f.sinks[i].Read(buf)
		if err != nil {
			return // closed
		}
		f.mu.Lock()
		if n == 8 {
			f.got[binary.BigEndian.Uint64(buf)] = true
			f.last[i] = time.Now()
		}
		f.mu.Unlock()
	}
}

// silent is for how long a sink has got nothing.
func (f *flow) silent(i int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.last[i])
}

// grace is what the last packets have to arrive.
const grace = 200 * time.Millisecond

// end stops the flow and returns how many packets were lost.
func (f *flow) end() (int, error) {
	close(f.stop)
	sent := <-f.sent
	time.Sleep(grace)
	err := f.close()
	f.mu.Lock()
	defer f.mu.Unlock()
	return sent - len(f.got), err
}

func (f *flow) close() error {
	var errs []error
	for _, c := range f.sinks {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
