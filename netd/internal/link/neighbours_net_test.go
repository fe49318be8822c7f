//go:build net

package link_test

import (
	"testing"

	"netd/netd/internal/link"
	"netd/netd/internal/ownnet"
)

// In a network namespace of its own the neighbour tables have no sizes, which is said and
// is no error.
func TestNoNeighbourTables(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		if is, err := (link.Neighbours{V4: 5000, V6: 5000}).Apply(); is || err != nil {
			t.Errorf("%v, %v", is, err)
		}
	})
}
