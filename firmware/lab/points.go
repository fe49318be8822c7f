package lab

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"netd/firmware/lab/patience"
)

// Point is one thing that the lab shows: Show asserts it and returns what a
// person should see of it.
type Point struct {
	Name string
	Show func(context.Context) (string, error)
}

// Points are the lab's, in order; each leaves the lab as it found it.
func (l *Lab) Points() []Point {
	return []Point{
		{"sessions are established, and each ToR's kernel has the blocks behind it", l.sessions},
		{"pods behind one ToR: native, no IP-in-IP on the wire", l.native},
		{"pods behind different ToRs: IP-in-IP between the gateways' own addresses", l.tunnel},
		{"large packets: 1400 octets with DF pass, what does not fit is answered", l.large},
		{"the fabric passes pod routes, and stops: native, and back to IP-in-IP", l.fabric},
		{"a gateway loses power: all comes back by itself", l.power},
		{"plain Linux tools on the console tell the truth", l.tools},
	}
}

func (l *Lab) board(name string) *Board {
	for _, b := range l.Boards {
		if b.Name == name {
			return b
		}
	}
	panic("no board " + name) // a mistake in this file
}

func (l *Lab) sessions(ctx context.Context) (string, error) {
	var s strings.Builder
	for _, b := range l.Boards {
		out, err := b.Run(ctx, "netd peers")
		if err == nil {
			err = allEstablished(out)
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&s, "%s# netd peers\n%s\n", b.Name, out)
	}
	for i, h := range l.ToRs.Hosts {
		table, err := h.Run(ctx, "ip", "route")
		if err != nil {
			return "", err
		}
		for _, g := range Gateways() {
			if want := g.Block + " via " + g.Address; strings.Contains(table, want) != (g.ToR == i) {
				return "", fmt.Errorf("%s's kernel table, want %q: %v:\n%s", h.Name, want, g.ToR == i, table)
			}
		}
		fmt.Fprintf(&s, "%s# ip route\n%s\n", h.Name, table)
	}
	return s.String(), nil
}

// watched pings from gw-a's pod to another one while tcpdump listens on gw-a's
// tap, and returns what it saw of ICMP and of IP-in-IP.
func (l *Lab) watched(ctx context.Context, to *Board) ([]string, error) {
	c, err := l.ToRs.Hosts[0].Capture(ctx, "gw-a", "gw-a", "icmp or proto 4")
	if err != nil {
		return nil, err
	}
	out, err := l.board("gw-a").InPod(ctx, "ping -c 3 -i 0.3 -W 3 "+to.Pod)
	packets := c.Packets()
	if err == nil && len(packets) < 6 {
		err = fmt.Errorf("3 pings and their answers, but tcpdump saw %d packets:\n%s\n%s", len(packets), strings.Join(packets, "\n"), out)
	}
	return packets, err
}

// tunnelled counts the packets that are IP-in-IP between two gateways.
func tunnelled(packets []string, a, b string) (ipip, between int) {
	for _, p := range packets {
		if !strings.Contains(p, ": IP ") {
			continue
		}
		ipip++
		if strings.Contains(p, fmt.Sprintf("IP %s > %s: IP ", a, b)) || strings.Contains(p, fmt.Sprintf("IP %s > %s: IP ", b, a)) {
			between++
		}
	}
	return ipip, between
}

func (l *Lab) native(ctx context.Context) (string, error) {
	packets, err := l.watched(ctx, l.board("gw-b"))
	if err != nil {
		return "", err
	}
	if n, _ := tunnelled(packets, "", ""); n > 0 {
		return "", fmt.Errorf("IP-in-IP between neighbours:\n%s", strings.Join(packets, "\n"))
	}
	return "on gw-a's tap:\n" + strings.Join(packets[:2], "\n") + "\n", nil
}

func (l *Lab) tunnel(ctx context.Context) (string, error) {
	a, c := l.board("gw-a"), l.board("gw-c")
	packets, err := l.watched(ctx, c)
	if err != nil {
		return "", err
	}
	if n, between := tunnelled(packets, a.Address, c.Address); n != len(packets) || between != n {
		return "", fmt.Errorf("%d packets, %d of them IP-in-IP, %d between %s and %s:\n%s",
			len(packets), n, between, a.Address, c.Address, strings.Join(packets, "\n"))
	}
	why, err := a.Run(ctx, "netd explain "+c.Pod)
	return "on gw-a's tap:\n" + strings.Join(packets[:2], "\n") + "\ngw-a# netd explain " + c.Pod + "\n" + why + "\n", err
}

func (l *Lab) large(ctx context.Context) (string, error) {
	a, c := l.board("gw-a"), l.board("gw-c")
	fits := "ping -M do -s 1400 -c 2 -W 3 " + c.Pod
	out, err := a.InPod(ctx, fits)
	if err != nil {
		return "", err
	}
	// 1452 + 28 octets fit the pod's MTU of 1480; with the outer header they
	// are 1500, and the fabric takes 1460. The first one tells the gateway, the
	// next ones the pod.
	wide := "ping -M do -s 1452 -c 4 -W 1 " + c.Pod
	refused, err := a.InPod(ctx, wide)
	if err == nil || !strings.Contains(refused, "Frag needed") {
		return "", fmt.Errorf("1480 octets over a fabric of %d: want \"Frag needed\", got:\n%s", FabricMTU, refused)
	}
	if _, err := a.InPod(ctx, "ip route flush cache"); err != nil {
		return "", err
	}
	return fmt.Sprintf("web-0# %s\n%s\nweb-0# %s\n%s\n", fits, out, wide, refused), nil
}

// flow starts a ping of 10/s in a pod and returns how to end it, which is some
// seconds later: what is lost last should be seen too.
func (b *Board) flow(ctx context.Context, to string) (func(context.Context) (string, error), error) {
	_, err := b.Run(ctx, fmt.Sprintf("ip netns exec %s ping -i 0.1 -W 1 %s >/tmp/flow 2>&1 & echo $! >/tmp/flow.pid", pod, to))
	return func(ctx context.Context) (string, error) {
		out, err := b.Run(ctx, "sleep 3; kill -INT $(cat /tmp/flow.pid); sleep 1; tail -n 3 /tmp/flow")
		if err != nil {
			return "", err
		}
		sent, lost, err := pingLoss(out)
		return fmt.Sprintf("%d of %d pings lost at 10/s", lost, sent), err
	}, err
}

var summary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// pingLoss reads ping's summary.
func pingLoss(out string) (sent, lost int, err error) {
	m := summary.FindStringSubmatch(out)
	if m == nil {
		return 0, 0, fmt.Errorf("ping has no summary:\n%s", out)
	}
	sent, _ = strconv.Atoi(m[1])
	got, _ := strconv.Atoi(m[2])
	return sent, sent - got, nil
}

// changeTimeout bounds the time from a ToR's new policy to the gateways' routes.
const changeTimeout = time.Minute

func (l *Lab) fabric(ctx context.Context) (string, error) {
	var s strings.Builder
	for _, pass := range []bool{true, false} {
		kind := map[bool]string{true: "native", false: "ipip"}[pass]
		loss, err := l.changeFabric(ctx, pass, kind)
		if err != nil {
			return "", errors.Join(err, l.ToRs.PassPods(ctx, false))
		}
		fmt.Fprintf(&s, "pod routes over the fabric: %v; the flow turned %s; %s\n", pass, kind, loss)
	}
	return s.String(), nil
}

func (l *Lab) changeFabric(ctx context.Context, pass bool, kind string) (string, error) {
	a, c := l.board("gw-a"), l.board("gw-c")
	stop, err := a.flow(ctx, c.Pod)
	if err != nil {
		return "", err
	}
	if err := l.ToRs.PassPods(ctx, pass); err != nil {
		return "", err
	}
	waiting, cancel := patience.Context(ctx, changeTimeout)
	defer cancel()
	for from, to := range map[*Board]*Board{a: c, c: a} {
		if err := Until(waiting, fmt.Sprintf("%s's route to %s to be %s", from.Name, to.Block, kind), func(ctx context.Context) error {
			out, err := from.Run(ctx, "netd explain "+to.Block)
			if err == nil && !strings.Contains(out, to.Block+": "+kind) {
				err = errors.New(out)
			}
			return err
		}); err != nil {
			return "", err
		}
	}
	loss, err := stop(ctx)
	if err != nil {
		return "", err
	}
	packets, err := l.watched(ctx, c)
	if n, _ := tunnelled(packets, "", ""); err == nil && (n > 0) == pass {
		err = fmt.Errorf("the route is %s, but on the wire:\n%s", kind, strings.Join(packets, "\n"))
	}
	return loss, err
}

// power cuts gw-c's power, and waits for sessions, pod and the same address.
func (l *Lab) power(ctx context.Context) (string, error) {
	c := l.board("gw-c")
	before := c.Pod
	if err := c.Kill(); err != nil {
		return "", err
	}
	begin := time.Now()
	if err := c.Restart(ctx); err != nil {
		return "", err
	}
	if err := l.ready(ctx, c); err != nil {
		return "", err
	}
	if c.Pod != before {
		return "", fmt.Errorf("pod's address after the power cut: %s, before: %s", c.Pod, before)
	}
	if err := l.allReach(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("gw-c lost power; %.0f s later all sessions are up and %s answers again\n", time.Since(begin).Seconds(), c.Pod), nil
}

func (l *Lab) tools(ctx context.Context) (string, error) {
	a, c := l.board("gw-a"), l.board("gw-c")
	checks := []struct {
		command string
		want    []string
	}{
		{"ip route", []string{
			"10.64.2.0/26 nhid ", " via 10.0.1.12 dev uplink0 proto netd", "10.64.3.0/26 nhid ", " via 10.0.2.13 dev netd-ipip0 proto netd",
			"blackhole 10.64.1.0/26 proto netd", a.Pod + " dev pod",
		}},
		{"ip -d link show netd-ipip0", []string{"ipip", "local 10.0.1.11", "mtu 1480", "pmtudisc"}},
		{"ss -tnp state established", []string{"10.0.1.1:", "10.0.1.12:", "10.0.2.13:", "netd"}},
		{"ip netns exec web-0 traceroute -n -q 1 -w 3 " + c.Pod, []string{a.Address, c.Address, c.Pod}},
	}
	var s strings.Builder
	for _, check := range checks {
		out, err := a.Run(ctx, check.command)
		if err != nil {
			return "", err
		}
		for _, want := range check.want {
			if !strings.Contains(out, want) {
				return "", fmt.Errorf("gw-a# %s\n%s\nlacks %q", check.command, out, want)
			}
		}
		fmt.Fprintf(&s, "gw-a# %s\n%s\n", check.command, out)
	}
	return s.String(), nil
}
