package image

// bootModules find and mount what the board's disk holds; the initramfs has
// them and loads them all.
func bootModules() []string {
	return []string{
		"efivarfs",       // which slot am I
		"squashfs",       // boot and root slots
		"crc32c_generic", // ext4's checksums: it asks for an alias, not for a module
		"ext4",
	}
}

// loadModules are loaded at every start, because netd uses them at once.
func loadModules() []string {
	return []string{"overlay", "veth", "ipip", "nf_tables", "nft_ct", "nft_fib_inet", "nft_limit"}
}

// extraModules are in the image and are loaded by the kernel itself when
// something asks for them.
func extraModules() []string {
	return []string{
		"8021q", "bonding", "bridge", "br_netfilter", "dummy", "ifb", "ip6_tunnel", "ip_gre", "ipvlan", "macvlan", "sit", "tun", "vrf", "vxlan", "wireguard",
		"nf_conntrack_netlink", "nfnetlink_log", "nfnetlink_queue",
		"nft_chain_nat", "nft_compat", "nft_connlimit", "nft_flow_offload", "nft_hash",
		"nft_log", "nft_masq", "nft_nat", "nft_numgen", "nft_objref", "nft_queue", "nft_quota", "nft_redir", "nft_reject_inet",
		"nft_reject_ipv4", "nft_socket", "nft_tproxy",
		"act_mirred", "act_police", "cls_bpf", "cls_flower", "cls_matchall", "cls_u32", "sch_cake", "sch_fq", "sch_htb", "sch_ingress",
		"sch_netem", "sch_prio", "sch_tbf", "tcp_bbr",
		"inet_diag", "tcp_diag", "udp_diag", "raw_diag", "unix_diag", "netlink_diag", "af_packet_diag",
		"loop", "vfat", "nls_ascii", "nls_cp437",
	}
}
