//go:build net

package cage

import (
	"testing"

	"netd/netd/internal/ownnet"
)

func TestCage(t *testing.T)          { ownnet.Run(t, escapes) }
func TestCageWorks(t *testing.T)     { ownnet.Run(t, works) }
func TestLandlockAlone(t *testing.T) { ownnet.Run(t, landlockAlone) }
func TestMemoryLimit(t *testing.T)   { ownnet.Run(t, memoryLimit) }
