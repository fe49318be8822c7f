package config

// Tunnel is how packets go to gateways that the fabric does not reach natively.
type Tunnel struct {
	Type TunnelType
	// VNI (1 to 16777215) and Port are VXLAN's; all gateways of a fleet have the same.
	VNI  int
	Port uint16
}

// TunnelType is what goes around the packets.
type TunnelType string

const (
	// TunnelIPIP: the other gateway's IP header, by the families ipip, sit or ip6tnl
	// (the default).
	TunnelIPIP TunnelType = "ipip"
	// TunnelVXLAN: VXLAN (RFC 7348), for networks that drop protocols 4 and 41.
	TunnelVXLAN TunnelType = "vxlan"
)

const (
	defaultVNI = 4096
	vxlanPort  = 4789 // IANA's
)

type rawTunnel struct {
	kind val[TunnelType]
	vni  val[int64]
	port val[int64]
}

func readTunnel(t *table) rawTunnel {
	defer t.done()
	return rawTunnel{
		kind: withDefault(t, "type", oneOf(TunnelIPIP, TunnelVXLAN), TunnelIPIP),
		vni:  withDefault(t, "vni", number(1, 1<<24-1, "4096"), defaultVNI),
		port: withDefault(t, "port", number(1, 65535, "4789"), vxlanPort),
	}
}

func (r *reader) checkTunnel(t rawTunnel) {
	if !t.kind.ok || t.kind.v == TunnelVXLAN {
		return
	}
	for v, plain := range map[val[int64]]int64{t.vni: defaultVNI, t.port: vxlanPort} {
		if v.n != nil && v.ok && v.v != plain {
			r.conflict(v.n, `this is VXLAN's: expected type = "vxlan" beside it`)
		}
	}
}

// checkSameTunnel reports a device whose tunnels no other one's would understand.
func (r *reader) checkSameTunnel(earlier pass, f *rawFile) {
	e, t := earlier.raw.tunnel, f.tunnel
	if !e.kind.ok || !t.kind.ok || !e.vni.ok || !t.vni.ok || !e.port.ok || !t.port.ok || e.config() == t.config() {
		return
	}
	for _, n := range []*node{t.kind.n, t.vni.n, t.port.n, e.kind.n, e.vni.n, e.port.n} {
		if n != nil {
			r.conflict(n, "device %s has another tunnel: expected the same for all gateways", earlier.label)
			return
		}
	}
}

func (t rawTunnel) config() Tunnel {
	if t.kind.v != TunnelVXLAN {
		return Tunnel{Type: t.kind.v}
	}
	return Tunnel{Type: t.kind.v, VNI: int(t.vni.v), Port: uint16(t.port.v)}
}

func printTunnel(p func(string, ...any), t Tunnel) {
	p("\n[tunnel]\ntype = %s", quote(string(t.Type)))
	if t.Type == TunnelVXLAN {
		p("vni = %d\nport = %d", t.VNI, t.Port)
	}
}
