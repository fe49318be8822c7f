package child

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"netd/netd/internal/bgp/gobgp"
)

const (
	headerLen  = bgp.BGP_HEADER_LENGTH
	lengthAt   = 16
	typeAt     = 18
	longestMsg = bgp.BGP_MAX_MESSAGE_LENGTH
)

// opening is a connection to a peer until the session is up: it leaves capabilities out of
// both ends' OPEN, hears what the peer refuses, and ends if the peer says nothing.
// Then it is only a connection. What is no BGP passes as it is.
type opening struct {
	*net.TCPConn
	without []byte       // codes of capabilities
	refused func(string) // is told in words what the peer refuses
	silence *time.Timer  // ends the connection unless the peer speaks

	mu   sync.Mutex // guards sent, which is written and read by two
	sent []byte     // our OPEN

	in   []byte // what of a message has come
	out  []byte // what is to be handed on
	over bool   // the session is up, or this is no BGP
	end  bool   // the peer has refused it
}

// newOpening watches a new connection.
func newOpening(c *net.TCPConn, without []byte, patience time.Duration, refused func(string)) *opening {
	o := &opening{TCPConn: c, without: without, refused: refused}
	o.silence = time.AfterFunc(patience, func() {
		refused("accepts the connection and says nothing")
		_ = c.Close()
	})
	return o
}

// Write sends a message; the first is the OPEN.
func (o *opening) Write(b []byte) (int, error) {
	o.mu.Lock()
	first := o.sent == nil
	if first {
		o.sent = gobgp.WithoutCapabilities(b, o.without)
	}
	open := o.sent
	o.mu.Unlock()
	if !first {
		return o.TCPConn.Write(b)
	}
	if _, err := o.TCPConn.Write(open); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Read hands on what the peer says.
func (o *opening) Read(b []byte) (int, error) {
	for len(o.out) == 0 {
		switch {
		case o.end:
			return 0, io.EOF
		case o.over:
			return o.TCPConn.Read(b)
		}
		more := make([]byte, longestMsg)
		n, err := o.TCPConn.Read(more)
		if n > 0 {
			o.silence.Stop()
			o.in = append(o.in, more[:n]...)
			o.hear()
		}
		if err != nil && len(o.out) == 0 {
			return 0, err
		}
	}
	n := copy(b, o.out)
	o.out = o.out[n:]
	return n, nil
}

// Close ends the connection.
func (o *opening) Close() error {
	o.silence.Stop()
	return o.TCPConn.Close()
}

// hear takes in the messages that are whole.
func (o *opening) hear() {
	for !o.over && len(o.in) >= headerLen {
		length := int(binary.BigEndian.Uint16(o.in[lengthAt:]))
		if length < headerLen || length > longestMsg {
			break // This is no BGP.
		}
		if len(o.in) < length {
			return
		}
		message := o.in[:length]
		o.in = o.in[length:]
		switch message[typeAt] {
		case bgp.BGP_MSG_OPEN:
			message = gobgp.WithoutCapabilities(message, o.without)
		case bgp.BGP_MSG_NOTIFICATION:
			o.mu.Lock()
			open := o.sent
			o.mu.Unlock()
			o.refused(gobgp.Refusal(message, open))
			o.end = true
			return
		default:
			o.over = true
		}
		o.out = append(o.out, message...)
	}
	if o.over || len(o.in) >= headerLen {
		o.over, o.out, o.in = true, append(o.out, o.in...), nil
	}
}
