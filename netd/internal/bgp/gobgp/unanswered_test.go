package gobgp

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
)

func TestUnanswered(t *testing.T) {
	to := netip.MustParseAddr("10.0.1.1")
	failed := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	for _, c := range []struct {
		err    error
		locked bool
		want   string
	}{
		{failed(syscall.ECONNREFUSED), true, "takes no connection to TCP port 179: connection refused"},
		{failed(syscall.EHOSTUNREACH), false, "takes no connection to TCP port 179: no route to host"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}, false, "takes no connection to TCP port 179: no answer"},
		{failed(syscall.ETIMEDOUT), true, "takes no connection to TCP port 179: no answer, as when the password is another"},
	} {
		p := Unanswered(to, c.err, c.locked)
		if got := DisconnectReason(p.GetState()); got != c.want || !IsUnanswered(got) || !IsLoss(p.GetState()) {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
	if IsUnanswered("hold timer expired") {
		t.Error("a lost session was never there")
	}
}
