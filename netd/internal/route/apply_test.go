package route

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"netd/netd/internal/rtnl"
)

// fakeFIB is a kernel of one table; net and vm tests use the real one.
type fakeFIB struct {
	routes  []rtnl.Route
	links   []rtnl.Link
	log     []string
	readErr error
}

func (k *fakeFIB) Links() ([]rtnl.Link, error) { return k.links, nil }

func (k *fakeFIB) Routes(protocol int) ([]rtnl.Route, error) {
	var own []rtnl.Route
	for _, r := range k.routes {
		if r.Protocol == protocol {
			own = append(own, r)
		}
	}
	return own, k.readErr
}

func (k *fakeFIB) ReplaceRoute(r rtnl.Route) error {
	k.log = append(k.log, "replace "+r.String())
	k.drop(r)
	k.routes = append(k.routes, r)
	return nil
}

func (k *fakeFIB) DeleteRoute(r rtnl.Route) error {
	k.log = append(k.log, "delete "+r.String())
	k.drop(r)
	return nil
}

func (k *fakeFIB) drop(r rtnl.Route) {
	for i, old := range k.routes {
		if old.Prefix == r.Prefix && old.Metric == r.Metric {
			k.routes = append(k.routes[:i], k.routes[i+1:]...)
			return
		}
	}
}

func newFIB() *fakeFIB {
	return &fakeFIB{links: []rtnl.Link{
		{Index: 2, Name: "uplink0", Carrier: true}, {Index: 3, Name: "netd-ipip0", Carrier: true}, {Index: 4, Name: "pod1", Carrier: true},
	}}
}

func TestApplyTwice(t *testing.T) {
	f := lab()
	f.Pods = []LocalPod{{"web-0", ip("10.64.1.0"), "pod1"}}
	f.Paths = []Path{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0)}
	fib := newFIB()
	alien := rtnl.Route{Prefix: pfx("192.0.2.0/24"), Link: 2, Protocol: 4}
	fib.routes = []rtnl.Route{alien}

	res, err := Apply(fib, Plan(f), Options{})
	if err != nil || res != (Result{Added: 3}) {
		t.Fatalf("first time: %+v, %v, want 3 added", res, err)
	}
	fib.log = nil
	res, err = Apply(fib, Plan(f), Options{})
	if err != nil || res.Changed() || fib.log != nil {
		t.Errorf("second time: %+v, %v, %q, want nothing done", res, err, fib.log)
	}

	// The ToR offers the prefix: the route moves, it is never absent.
	f.Paths = append(f.Paths, path("10.64.3.0/26", "10.0.1.1", "tor1", 1))
	fib.log = nil
	if _, err = Apply(fib, Plan(f), Options{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"replace 10.64.3.0/26 via 10.0.1.1 dev #2"}, fib.log); diff != "" {
		t.Errorf("tunnel to native (-want +got):\n%s", diff)
	}

	f.Paths, f.Pods, f.Blocks = nil, nil, nil
	if res, err = Apply(fib, Plan(f), Options{}); err != nil || res.Deleted != 3 {
		t.Errorf("empty plan: %+v, %v, want 3 deleted", res, err)
	}
	if diff := cmp.Diff([]rtnl.Route{alien}, fib.routes, cmp.Comparer(func(a, b rtnl.Route) bool { return a == b })); diff != "" {
		t.Errorf("left in the kernel (-want +got):\n%s", diff)
	}
}

func TestApplyHold(t *testing.T) {
	f := lab()
	f.Paths = []Path{path("10.64.3.0/26", "10.0.1.1", "tor1", 0), path("10.64.4.0/26", "10.0.1.1", "tor1", 0)}
	fib := newFIB()
	if _, err := Apply(fib, Plan(f), Options{}); err != nil {
		t.Fatal(err)
	}
	// After a restart only the gateway session is back: it knows one prefix by the tunnel.
	f.Paths = []Path{path("10.64.3.0/26", "10.0.2.13", "gw-c", 0)}
	fib.log = nil
	res, err := Apply(fib, Plan(f), Options{Hold: true})
	if err != nil || res.Held != 2 || fib.log != nil {
		t.Errorf("held: %+v, %v, %q, want both routes left alone", res, err, fib.log)
	}
	// Without carrier there is nothing to hold on to.
	fib.links[0].Carrier = false
	res, err = Apply(fib, Plan(f), Options{Hold: true})
	if err != nil || res.Replaced != 1 || res.Deleted != 1 {
		t.Errorf("no carrier: %+v, %v, want one replaced and one deleted", res, err)
	}
}

func TestApplyNeverSweepsOnIgnorance(t *testing.T) {
	fib := newFIB()
	fib.readErr = errors.New("dump interrupted")
	res, err := Apply(fib, Plan(lab()), Options{})
	if err == nil || res.Changed() || fib.log != nil {
		t.Errorf("unreadable kernel: %+v, %v, %q, want an error and nothing done", res, err, fib.log)
	}
}

func TestApplyNamesTheRoute(t *testing.T) {
	f := lab()
	f.Pods = []LocalPod{{"web-0", ip("10.64.1.0"), "gone"}}
	_, err := Apply(newFIB(), Plan(f), Options{})
	if err == nil || !strings.Contains(err.Error(), "10.64.1.0/32") || !strings.Contains(err.Error(), "gone") {
		t.Errorf("error %v, want it to name prefix and link", err)
	}
}
