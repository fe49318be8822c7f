package gobgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/osrg/gobgp/v4/api"

	"netd/netd/layout"
)

// unanswered begins the words of all that is wrong with a connection.
const unanswered = "takes no connection"

// Unanswered is the event that a peer does not take a connection to its port, in words;
// locked says that the connection has a password.
func Unanswered(to netip.Addr, err error, locked bool) *api.Peer {
	var number syscall.Errno
	why := err.Error()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		why = "no answer"
		if locked {
			why += ", as when the password is another"
		}
	case errors.As(err, &number):
		why = number.Error()
	}
	return &api.Peer{State: &api.PeerState{
		NeighborAddress: to.String(),
		// GoBGP has no reason for a session that never was; this one is a loss.
		DisconnectReason:  api.PeerState_DISCONNECT_REASON_READ_FAILED,
		DisconnectMessage: fmt.Sprintf("%s to TCP port %d: %s", unanswered, layout.BGPPort, why),
	}}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// IsUnanswered tells such words from those of a session that was lost.
func IsUnanswered(reason string) bool { return strings.HasPrefix(reason, unanswered) }
