package bgp

import "testing"

// A peer is suspected by what it has announced since it was counted.
func TestMayHave(t *testing.T) {
	c, tor := newChanges(), ip("10.0.1.1")
	c.announced[tor] = 120
	if got := c.mayHave(tor); got != 120 {
		t.Errorf("it may have %d", got)
	}
	c.count(tor, 120, 40)
	c.announced[tor] = 125
	if got := c.mayHave(tor); got != 45 {
		t.Errorf("it may have %d, want 40 and 5", got)
	}
}
