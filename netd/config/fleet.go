package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// device is a [[device]] table: which box it is for, and what it overrides.
type device struct {
	n      *node
	label  string // what its path has in brackets
	match  *node
	name   val[string]
	serial val[string]
	mac    val[string]
	again  bool // an earlier device has the same match
}

// parts are the tables that a device can override.
func parts() []string {
	return []string{"gateway", "uplink", "lan", "bgp", "tunnel", "pool", "workload", "dns", "management"}
}

// readDevices reads the [[device]] tables, but not what they override.
func (r *reader) readDevices(root *node) []device {
	var ds []device
	seen := map[[3]string]*node{}
	for _, t := range (&table{r: r, n: root}).tables("device") {
		if t.quiet {
			continue // it is not an array of tables
		}
		for _, part := range parts() {
			t.child(part, about{})
		}
		m := t.table("match")
		d := device{
			n:      t.n,
			label:  strings.TrimSuffix(strings.TrimPrefix(t.n.path, "device["), "]"),
			match:  m.n,
			name:   optional(m, "name", new(string), gatewayName()),
			serial: optional(m, "serial", new(string), serialNumber()),
		}
		if mac := optional(m, "mac", new(net.HardwareAddr), hardwareAddr()); mac.ok {
			d.mac = val[string]{v: mac.v.String(), ok: true, n: mac.n}
		}
		if len(m.n.table) == 0 {
			t.missing("match", `expected which box it is for, e.g. match = { name = "gw-a" }`)
		}
		if key := [3]string{d.name.v, d.serial.v, d.mac.v}; key != [3]string{} {
			if first := seen[key]; first != nil {
				d.again = true
				r.conflict(m.n, "the same as %s: expected each box once", first)
			} else {
				seen[key] = m.n
			}
		}
		m.done()
		t.done()
		ds = append(ds, d)
	}
	return ds
}

// matches says whether everything that the device's match names is true of a box.
func (d device) matches(id Identity) bool {
	if d.name.ok && d.name.v != id.Name || d.serial.ok && d.serial.v != id.Serial {
		return false
	}
	if !d.mac.ok {
		return true
	}
	for _, mac := range id.MACs {
		if mac.String() == d.mac.v {
			return true
		}
	}
	return false
}

// String returns the match as it would be written.
func (d device) String() string {
	var keys []string
	for _, k := range []struct {
		key string
		v   val[string]
	}{{"name", d.name}, {"serial", d.serial}, {"mac", d.mac}} {
		if k.v.ok {
			keys = append(keys, k.key+" = "+quote(k.v.v))
		}
	}
	return "{ " + strings.Join(keys, ", ") + " }"
}

// over returns the common tree with the device's laid over it.
func (d device) over(common *node) *node {
	own := *d.n
	own.at, own.path = common.at, common.path // so that a whole missing table is missing in the file
	own.table = make(map[string]*node)
	for _, part := range parts() {
		if n := d.n.table[part]; n != nil {
			own.table[part] = n
		}
	}
	return merge(common, &own, "")
}

// pass is a tree as one box sees it. The common part alone is a pass of its own.
type pass struct {
	label    string // of the device; empty for the common part
	raw      *rawFile
	problems []problem
	missing  []string // the mandatory keys that it lacks
}

func newPass(label string, root *node, name val[string], known map[string]about) pass {
	r := &reader{known: known}
	raw := r.readFile(root, name)
	r.check(raw)
	p := pass{label: label, raw: raw, problems: r.problems}
	for _, problem := range r.problems {
		if problem.class == isMissing {
			p.missing = append(p.missing, problem.key)
		}
	}
	slices.Sort(p.missing)
	return p
}

// checkFleet reports what no two gateways of a fleet can share, and gateways that
// others know by a wrong address or AS.
func checkFleet(passes []pass) {
	for j := range passes {
		for i := range passes {
			if i != j {
				r := &reader{}
				if i < j {
					r.checkApart(passes[i], passes[j].raw)
				}
				r.checkKnown(passes[j].raw, passes[i].raw)
				passes[j].problems = append(passes[j].problems, r.problems...)
			}
		}
	}
}

// checkApart reports what f shares with an earlier device.
func (r *reader) checkApart(earlier pass, f *rawFile) {
	e := earlier.raw
	if e.gateway.name.ok && f.gateway.name.ok && e.gateway.name.v == f.gateway.name.v {
		r.conflict(f.gateway.name.n, "device %s has this name too: expected another name for each gateway", earlier.label)
	}
	if e.bgp.routerID.ok && f.bgp.routerID.ok && e.bgp.routerID.v == f.bgp.routerID.v {
		r.conflict(f.bgp.routerID.n, "device %s has this router-id too: expected another for each gateway", earlier.label)
	}
	r.checkSameTunnel(earlier, f)
	theirs := e.ownAddresses()
	for _, a := range slices.SortedFunc(maps.Keys(f.ownAddresses()), netip.Addr.Compare) {
		if theirs[a] != nil {
			r.conflict(f.ownAddresses()[a], "device %s has this address too (%s): expected another for each gateway", earlier.label, theirs[a])
		}
	}
	for _, p := range f.pools {
		for _, ep := range e.pools {
			if p.block.ok && ep.block.ok && p.block.v.Overlaps(ep.block.v) {
				r.conflict(p.block.n, "overlaps device %s's block %s: expected a block of its own for each gateway", earlier.label, ep.block.v)
			}
		}
	}
}

// checkKnown compares what f says about another gateway with what is there.
func (r *reader) checkKnown(f, o *rawFile) {
	for _, p := range f.bgp.gateways {
		if p.self || !p.name.ok || !o.gateway.name.ok || p.name.v != o.gateway.name.v {
			continue
		}
		r.checkSame(p, o)
	}
}

// report turns the passes' problems into errors and warnings per pass. A problem that
// only some of the devices have names these, unless it stands in a device's own table.
func report(t *text, own []problem, passes []pass, devices int) (Errors, map[string][]Warning) {
	labels := map[problem][]string{}
	for _, p := range passes {
		for _, problem := range p.problems {
			if !slices.Contains(labels[problem], p.label) {
				labels[problem] = append(labels[problem], p.label)
			}
		}
	}
	for _, problem := range own {
		labels[problem] = []string{""}
	}
	problems := slices.Collect(maps.Keys(labels))
	sortProblems(problems)
	var errs Errors
	warnings := map[string][]Warning{}
	for _, problem := range problems {
		who := labels[problem]
		e := t.error(problem)
		if problem.class == isWarning {
			for _, label := range who {
				warnings[label] = append(warnings[label], Warning{e})
			}
			continue
		}
		if !slices.Contains(who, "") && len(who) < devices && !strings.HasPrefix(e.Key, "device[") {
			e.Text += fmt.Sprintf(" (for device %s)", strings.Join(who, ", "))
		}
		errs = append(errs, e)
	}
	return errs, warnings
}
