package config

import (
	"regexp"
	"slices"
)

// foreign are files of other programs, by a line that they have.
func foreign() []struct{ name, line string } {
	return []struct{ name, line string }{
		{"gobgpd's configuration", `\[global(\.config)?\]|\[\[neighbors\]\]|\[\[peer-groups\]\]`},
		{"containerd's configuration", `\[plugins\b.*\]`},
		{"gokrazy's configuration", `"?Packages"?\s*[=:]\s*\[.*`},
		{"a unit or network file of systemd", `\[(Match|Network|NetDev|Link|Unit|Service|Install)\]`},
		{"BIRD's configuration", `(protocol|template|filter|table)\s+\w+.*\{|router id .*;|log (syslog|stderr|").*`},
		{"FRR's configuration", `frr (version|defaults) .*|router bgp \d+.*|ip route \S+ \S+.*|line vty`},
		{"OpenWrt's configuration", `config \w[\w-]*( +'[^']*')?`},
		{"a file of netplan", `network:`},
		{"a file of Kubernetes", `apiVersion:.*`},
		{"a compose file", `services:`},
		{"a script", `#!\s*/.*`},
		{"JSON", `\{.*|\[\s*`},
		{"YAML", `---|[\w-]+:(\s+\S.*)?`},
	}
}

// looksLike says whose file a text probably is, if it has not our first line.
func looksLike(data []byte) string {
	if regexp.MustCompile(`(?m)^\s*"?schema"?\s*=`).Match(data) {
		return ""
	}
	data = data[:min(len(data), 1<<14)] // It shows early.
	for _, f := range foreign() {
		if regexp.MustCompile(`(?m)^[ \t]*(` + f.line + `)[ \t]*\r?$`).Match(data) {
			return f.name
		}
	}
	return ""
}

// foreignError is the only error of a file that is another program's.
func (p *parsed) foreignError(root *node) Errors {
	e := Error{File: p.text.file, Line: 1, Col: 1, Key: "file", Text: "expected netd's own, whose first line is schema = 1"}
	if name := looksLike(p.text.data); name != "" {
		e.Value = "looks like " + name
		return Errors{e}
	}
	if root == nil || len(root.table) == 0 {
		return nil
	}
	for key := range root.table {
		if h := hintFor("", key, append(parts(), "schema", "device")); h.key != "" || slices.Contains(parts(), key) || key == "device" || key == "schema" {
			return nil
		}
	}
	e.Value = "nothing in it is netd's"
	return Errors{e}
}
