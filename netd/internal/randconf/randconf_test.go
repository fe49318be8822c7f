package randconf

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/config"
)

// TestText: the same seed gives the same text, many texts are good and many are not, and
// what is good is printed so that it parses to the same.
func TestText(t *testing.T) {
	const seeds = 400
	m, err := New("../../../configs")
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for seed := range uint64(seeds) {
		text := m.Text(seed)
		if m.Text(seed) != text {
			t.Fatalf("seed %d: another text", seed)
		}
		devices, err := config.ParseAll("f", []byte(text))
		if err != nil {
			continue
		}
		good++
		for _, d := range devices {
			again, _, err := config.Parse("printed", d.Config.TOML(), config.Identity{})
			if err != nil {
				t.Fatalf("seed %d: printed:\n%s\n%v", seed, d.Config.TOML(), err)
			}
			if diff := cmp.Diff(d.Config.TOML(), again.TOML()); diff != "" {
				t.Fatalf("seed %d (-printed +printed again):\n%s", seed, diff)
			}
		}
	}
	if good < seeds/5 || good > seeds*4/5 {
		t.Errorf("%d of %d are good", good, seeds)
	}
	t.Logf("%d of %d are good", good, seeds)
}
