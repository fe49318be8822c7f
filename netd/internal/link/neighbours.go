package link

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"netd/netd/internal/rtnl"
)

// Neighbours is how many the kernel's tables are to have room for, by family.
type Neighbours struct{ V4, V6 int }

const (
	// leastNeighbours is what a table holds without being asked for more: the kernel's own
	// 1024 is full with one flat network.
	leastNeighbours = 1024
	// mostNeighbours is some 32 MB of the kernel's memory, when somebody fills the table.
	mostNeighbours = 65536
)

// Apply sets the sizes of the kernel's neighbour tables (arp(7), gc_thresh1 to 3): what is
// expected is never collected, twice that is the bound that stands for some seconds, four
// times that the one that holds. The tables are one for all network namespaces, and so are
// these keys, which only the first namespace has: elsewhere is says false.
func (n Neighbours) Apply() (is bool, err error) {
	var errs []error
	for family, expected := range map[string]int{"ipv4": n.V4, "ipv6": n.V6} {
		least := min(max(expected, leastNeighbours), mostNeighbours/4)
		// From the largest: the kernel does not compare them, but collects by each.
		for i := 3; i >= 1; i-- {
			key := fmt.Sprintf("%s/neigh/default/gc_thresh%d", family, i)
			err := rtnl.SetSysctl(key, strconv.Itoa(least<<(i-1)))
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
				continue // Not the first namespace, or a kernel without IPv6.
			}
			is = true
			errs = append(errs, err)
		}
	}
	return is, errors.Join(errs...)
}
