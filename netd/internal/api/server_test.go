package api

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Routes that are written one by one are what they are as a whole.
func TestEncodeRoutes(t *testing.T) {
	for n := range 4 {
		want := []Route{}
		for i := range n {
			want = append(want, Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i), 0}), 26)})
		}
		var b bytes.Buffer
		if err := encodeRoutes(&b, want); err != nil {
			t.Fatal(err)
		}
		var got []Route
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%d routes: %v in %s", n, err, &b)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
			t.Errorf("%d routes (-want +got):\n%s", n, diff)
		}
	}
}
