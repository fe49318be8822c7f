package intent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/config"
	"netd/netd/internal/route"
)

// Each word that a file may have is one of its own to the routes.
func TestEncapsulation(t *testing.T) {
	got := map[route.Encapsulation]config.Encapsulation{}
	for _, e := range config.Encapsulations() {
		got[encapsulation(e)] = e
	}
	want := map[route.Encapsulation]config.Encapsulation{
		route.Never: config.EncapsulateNever, route.CrossSubnet: config.EncapsulateCrossSubnet, route.Always: config.EncapsulateAlways,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	defer func() {
		if recover() == nil {
			t.Error("a word that no file may have is taken")
		}
	}()
	encapsulation("sometimes")
}
