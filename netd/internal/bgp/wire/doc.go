// Package wire is what the agent and its speaker process say to each other beside
// GoBGP's own API: questions for paths and their answers, hints of what to read
// again, and the few marks by which each knows the other. Both ends use it, so that
// neither can understand what the other does not say. It keeps nothing; packages bgp and
// child are the callers.
package wire

import (
	"context"
	"errors"

	"google.golang.org/grpc/metadata"
)

// MaxMessage bounds one gRPC message in octets.
const MaxMessage = 64 << 20

// ErrLeave is the cause of a context that ends for good, not for a restart. The
// process's own ends so with SIGINT.
var ErrLeave = errors.New("leaving for good")

// Leaving is what peers are told then, with the NOTIFICATION Administrative Shutdown
// (RFC 9003).
const Leaving = "the gateway goes down"

// HintsVariable names the descriptor of the pipe for hints.
const HintsVariable = "NETD_HINTS"

// agentKey marks the agent's own requests.
const agentKey = "netd-agent"

// AsAgent marks a request as the agent's.
func AsAgent(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, agentKey, "1")
}

// FromAgent tells whether a request is the agent's.
func FromAgent(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	return len(md.Get(agentKey)) > 0
}
