//go:build net && soak

package bfd

import (
	"testing"
	"time"

	"netd/netd/internal/ownnet"
)

// TestSoak is make soak's: ten minutes of TestBusy.
func TestSoak(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) { busy(t, 10*time.Minute) })
}
