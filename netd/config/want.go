package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"netd/netd/internal/address"
)

// This file has what single values may be.

// aString is any string that can be an argument or a variable of a process.
func aString(eg string) want[string] {
	return want[string]{"a string", quote(eg), func(n *node) (string, *wrong) {
		switch v := n.value.(type) {
		case string:
			if strings.ContainsRune(v, 0) {
				return "", &wrong{why: "NUL can not be passed to a process"}
			}
			return v, nil
		case nil: // a table or an array
		default:
			return "", &wrong{eg: quote(n.src)}
		}
		return "", &wrong{}
	}}
}

// matching is a string of some form.
func matching(what, eg string, ok func(string) bool) want[string] {
	return want[string]{what, quote(eg), func(n *node) (string, *wrong) {
		s, is := n.value.(string)
		if !is || !ok(s) {
			return "", &wrong{}
		}
		return s, nil
	}}
}

func boolean() want[bool] {
	return want[bool]{"true or false", "true", func(n *node) (bool, *wrong) {
		switch v := n.value.(type) {
		case bool:
			return v, nil
		case string:
			switch strings.ToLower(v) {
			case "true", "yes", "on", "enabled", "1":
				return false, &wrong{eg: "true"}
			case "false", "no", "off", "disabled", "0":
				return false, &wrong{eg: "false"}
			}
		}
		return false, &wrong{}
	}}
}

// number is a whole number in a range.
func number[T int | uint16 | uint32](least, most int64, eg string) want[T] {
	what := fmt.Sprintf("a number from %d to %d", least, most)
	return want[T]{what, eg, func(n *node) (T, *wrong) {
		in := func(v int64) bool { return least <= v && v <= most }
		switch v := n.value.(type) {
		case int64:
			if in(v) {
				return T(v), nil
			}
		case float64:
			if v == math.Trunc(v) && v >= float64(least) && v <= float64(most) {
				return 0, &wrong{eg: strconv.FormatInt(int64(v), 10)}
			}
		case string:
			if i, err := strconv.ParseInt(v, 10, 64); err == nil && in(i) {
				return 0, &wrong{eg: v}
			}
		}
		return 0, &wrong{}
	}}
}

// given is a value whose zero is one too, so that none is nil.
func given[T any](w want[T]) want[*T] {
	return want[*T]{w.what, w.eg, func(n *node) (*T, *wrong) {
		v, bad := w.read(n)
		if bad != nil {
			return nil, bad
		}
		return &v, nil
	}}
}

// asNumber is an autonomous system's number: 0 is reserved by RFC 7607,
// 4294967295 by RFC 7300, and 23456 stands for others (RFC 6793).
func asNumber(eg string) want[uint32] {
	w := number[uint32](1, math.MaxUint32-1, eg)
	read := w.read
	w.read = func(n *node) (uint32, *wrong) {
		v, bad := read(n)
		s, ok := n.value.(string)
		if _, isFloat := n.value.(float64); isFloat {
			s, ok = n.src, true // 1.10 is one to TOML
		}
		if ok && bad.eg == "" {
			if hi, lo, dotted := strings.Cut(s, "."); dotted {
				h, errH := strconv.ParseUint(hi, 10, 16)
				l, errL := strconv.ParseUint(lo, 10, 16)
				if errH == nil && errL == nil && h > 0 {
					return 0, &wrong{why: "not in RFC 5396's plain form", eg: strconv.FormatUint(h<<16|l, 10)}
				}
			}
		}
		if bad == nil && v == 23456 {
			return 0, &wrong{why: "AS_TRANS stands for 4-octet numbers (RFC 6793) and is nobody's own"}
		}
		return v, bad
	}
	return w
}

// seconds is a time of whole seconds, which is all that BGP's messages can carry.
func seconds(least, most time.Duration, eg string) want[time.Duration] {
	what := fmt.Sprintf("a time from %s to %s in whole seconds", quote(least.String()), quote(plainSeconds(most)))
	return want[time.Duration]{what, quote(eg), func(n *node) (time.Duration, *wrong) {
		switch v := n.value.(type) {
		case string:
			d, err := time.ParseDuration(v)
			switch {
			case err != nil:
				if i, err := strconv.Atoi(v); err == nil {
					return 0, &wrong{why: "no unit", eg: secondsEg(int64(i), least, most)}
				}
			case d >= least && d <= most && d%time.Second == 0:
				return d, nil
			}
		case int64:
			return 0, &wrong{why: "no unit", eg: secondsEg(v, least, most)}
		}
		return 0, &wrong{}
	}}
}

// secondsEg is the example for a number that lacks its unit.
func secondsEg(v int64, least, most time.Duration) string {
	if v < int64(least/time.Second) || v > int64(most/time.Second) {
		return ""
	}
	return quote(strconv.FormatInt(v, 10) + "s")
}

// milliseconds is a time of whole milliseconds.
func milliseconds(least, most time.Duration, eg string) want[time.Duration] {
	what := fmt.Sprintf("a time from %s to %s in whole milliseconds", quote(least.String()), quote(plainSeconds(most)))
	return want[time.Duration]{what, quote(eg), func(n *node) (time.Duration, *wrong) {
		switch v := n.value.(type) {
		case string:
			d, err := time.ParseDuration(v)
			switch {
			case err != nil:
				if i, err := strconv.ParseInt(v, 10, 32); err == nil {
					return 0, millisecondsWithout(i, least, most)
				}
			case d >= least && d <= most && d%time.Millisecond == 0:
				return d, nil
			}
		case int64:
			return 0, millisecondsWithout(v, least, most)
		}
		return 0, &wrong{}
	}}
}

// millisecondsWithout is for a number that lacks its unit.
func millisecondsWithout(v int64, least, most time.Duration) *wrong {
	if v < least.Milliseconds() || v > most.Milliseconds() {
		return &wrong{why: "no unit"}
	}
	return &wrong{why: "no unit", eg: quote(strconv.FormatInt(v, 10) + "ms")}
}

// oneOf is a word out of a few.
func oneOf[T ~string](words ...T) want[T] {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(string(w))
	}
	return want[T]{"one of " + strings.Join(quoted, ", "), "", func(n *node) (T, *wrong) {
		s, ok := n.value.(string)
		if !ok || !slices.Contains(words, T(s)) {
			return "", &wrong{}
		}
		return T(s), nil
	}}
}

// hardwareAddr is a link's own 48-bit address.
func hardwareAddr() want[net.HardwareAddr] {
	return want[net.HardwareAddr]{
		"a MAC address of six octets", `"52:54:00:01:00:0a"`,
		func(n *node) (net.HardwareAddr, *wrong) {
			s, _ := n.value.(string)
			mac, err := net.ParseMAC(s)
			switch {
			case err != nil || len(mac) != 6:
				return nil, &wrong{}
			case mac[0]&1 != 0:
				return nil, &wrong{why: "a group address"}
			case [6]byte(mac) == [6]byte{}:
				return nil, &wrong{why: "nobody's address"}
			}
			return mac, nil
		},
	}
}

// ipv4 is a host's address.
func ipv4(eg string) want[netip.Addr] {
	return want[netip.Addr]{"an IPv4 address of a host", quote(eg), func(n *node) (netip.Addr, *wrong) {
		s, _ := n.value.(string)
		a, err := netip.ParseAddr(s)
		if err != nil {
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
				return a, &wrong{why: "a prefix length has no place here", eg: quote(p.Addr().String())}
			}
			return a, &wrong{}
		}
		if !a.Is4() {
			return a, &wrong{why: "an IPv6 address"}
		}
		return a, notHost(a)
	}}
}

// ipv6 is a router's address, which may be link-local.
func ipv6(eg string) want[netip.Addr] {
	return want[netip.Addr]{"an IPv6 address of a host", quote(eg), func(n *node) (netip.Addr, *wrong) {
		s, _ := n.value.(string)
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is6() {
				return a, &wrong{why: "a prefix length has no place here", eg: quote(p.Addr().String())}
			}
			return a, &wrong{}
		case a.Is4():
			return a, &wrong{why: "an IPv4 address"}
		case a.Zone() != "":
			return a, &wrong{why: "the link is the uplink", eg: quote(a.WithZone("").String())}
		case a.IsLinkLocalUnicast():
			return a, nil
		}
		return a, notHost(a)
	}}
}

// hostAddr is a host's address of either family.
func hostAddr(eg string) want[netip.Addr] {
	return want[netip.Addr]{"an address of a host", quote(eg), func(n *node) (netip.Addr, *wrong) {
		s, _ := n.value.(string)
		a, err := netip.ParseAddr(s)
		if err != nil {
			if p, err := netip.ParsePrefix(s); err == nil {
				return a, &wrong{why: "a prefix length has no place here", eg: quote(p.Addr().String())}
			}
			return a, &wrong{}
		}
		return a, notHost(a)
	}}
}

// notHost says why an address can not be a host's.
func notHost(a netip.Addr) *wrong {
	if why := address.NotHost(a); why != "" {
		return &wrong{why: why}
	}
	return nil
}

// interfaceAddr is a link's address with the prefix length of its subnet.
func interfaceAddr(eg string) want[netip.Prefix] {
	return want[netip.Prefix]{
		"an address with its subnet's prefix length", quote(eg),
		func(n *node) (netip.Prefix, *wrong) {
			s, _ := n.value.(string)
			p, err := netip.ParsePrefix(s)
			if err != nil {
				if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
					return p, &wrong{why: "no prefix length", eg: quote(s + map[bool]string{true: "/24", false: "/64"}[a.Is4()])}
				}
				return p, &wrong{}
			}
			if why := address.NotOnLink(p); why != "" {
				return p, &wrong{why: why}
			}
			return p, nil
		},
	}
}

// passwordHash is a crypt(5) hash of a method that is still good.
func passwordHash() want[string] {
	const salt, end = `[./0-9A-Za-z]`, `[./0-9A-Za-z]`
	re := regexp.MustCompile(`^(?:` +
		`\$5\$(rounds=[0-9]{4,9}\$)?` + salt + `{1,16}\$` + end + `{43}|` +
		`\$6\$(rounds=[0-9]{4,9}\$)?` + salt + `{1,16}\$` + end + `{86}|` +
		`\$y\$` + salt + `+\$` + salt + `{1,86}\$` + end + `{43})$`)
	return want[string]{
		`a whole crypt(5) hash that begins with $5$, $6$ or $y$, as "openssl passwd -6" prints it, or "none"`, "",
		func(n *node) (string, *wrong) {
			s, ok := n.value.(string)
			switch {
			case ok && re.MatchString(s):
				return s, nil
			case ok && s == NoLogin:
				return s, nil
			case ok && s == "":
				return "", &wrong{why: `"none" says that nobody is to log in`}
			case ok && strings.HasPrefix(s, "$1$"), ok && strings.HasPrefix(s, "$2"):
				return "", &wrong{why: "a method that is not accepted"}
			case ok && !strings.HasPrefix(s, "$"):
				return "", &wrong{why: "not a hash"}
			}
			return "", &wrong{}
		},
	}
}

// addrPort is where to listen: an address of this box, or all of them, and a TCP port.
func addrPort() want[netip.AddrPort] {
	return want[netip.AddrPort]{
		"ADDRESS:PORT to listen on (an address of this box, or 0.0.0.0 or [::] for all)", `"10.0.1.11:9179"`,
		func(n *node) (netip.AddrPort, *wrong) {
			s, _ := n.value.(string)
			a, err := netip.ParseAddrPort(s)
			switch {
			case err != nil:
				return a, &wrong{}
			case a.Port() == 0:
				return a, &wrong{why: "port 0 is any port"}
			case a.Addr().Zone() != "" || a.Addr().IsMulticast():
				return a, &wrong{why: "nobody can connect to this address"}
			}
			return a, nil
		},
	}
}
