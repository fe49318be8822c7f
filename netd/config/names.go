package config

import (
	"fmt"
	"slices"
	"strings"

	"netd/netd/layout"
)

// This file has what names may be. They get into host names, paths, the kernel's command
// line, names of links, namespaces and containers, and into what a person types: one rule
// for a kind of name, wherever it is given.

// reservedHosts are names that a box has for itself already (RFC 6761 section 6.3, and
// Debian's /etc/hosts).
func reservedHosts() []string { return []string{"localhost", "ip6-localhost", "ip6-loopback"} }

// reservedLinks are names that the kernel has: of links that it makes with a module, and of
// the folders for all links in /proc/sys.
func reservedLinks() []string {
	return []string{"lo", "all", "default", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0", "bonding_masters", ".", ".."}
}

// hostName is an RFC 1123 label. DNS takes both cases for the same name; so that
// nothing else has to, only lower case is accepted.
func hostName(eg string) want[string] {
	return matching("a name of 1 to 63 lower-case letters, digits and inner hyphens (RFC 1123)", eg, isLabel)
}

func isLabel(s string) bool {
	return only(s, 63, "-") && s[0] != '-' && s[len(s)-1] != '-'
}

// gatewayName is what a box may be called, by its [gateway] or its image.
func gatewayName() want[string] {
	return without(hostName("gw-a"), func(s string) string {
		if slices.Contains(reservedHosts(), s) {
			return "every box calls itself so"
		}
		return ""
	})
}

// without is a want of fewer names: refused says why one is none, or nothing.
func without(w want[string], refused func(string) string) want[string] {
	read := w.read
	w.read = func(n *node) (string, *wrong) {
		if s, ok := n.value.(string); ok {
			if why := refused(s); why != "" {
				return "", &wrong{why: why}
			}
		}
		return read(n)
	}
	return w
}

// CheckName refuses what no box can be called: an image's name goes onto the kernel's
// command line, whose words are divided by spaces.
func CheckName(name string) error {
	w := gatewayName()
	if _, bad := w.read(&node{value: name}); bad != nil {
		if bad.why != "" {
			bad.why += ": "
		}
		return fmt.Errorf("device name %q: %sexpected %s, e.g. %s", name, bad.why, w.what, w.eg)
	}
	return nil
}

// workloadName leaves room for its pods' numbers (NAME-249 is a host name) and has
// no two hyphens in a row, which containerd's identifiers may not have.
func workloadName() want[string] {
	return matching("a name of 1 to 59 lower-case letters, digits and single inner hyphens (pods are called NAME-0 to NAME-249)",
		"web", func(s string) bool { return isLabel(s) && len(s) <= 59 && !strings.Contains(s, "--") })
}

// ownLinkName is a name that netd gives to a link of the kernel, whose limit is
// 15 octets (IFNAMSIZ less the final NUL).
func ownLinkName(eg string) want[string] {
	w := matching("a link name of 1 to 15 lower-case letters, digits, hyphens and dots, with a letter first", eg,
		func(s string) bool { return only(s, 15, "-.") && s[0] >= 'a' })
	return without(w, func(s string) string {
		if len(s) > 15 {
			return fmt.Sprintf("%d octets", len(s))
		}
		return takenLink(s)
	})
}

// takenLink says who has a link of a name, if that is known.
func takenLink(s string) string {
	if slices.Contains(reservedLinks(), s) {
		return "the kernel uses this name"
	}
	// Without its hyphen: netd0 would be taken for one of netd's own by a reader.
	for _, prefix := range []string{layout.PodLinks, strings.TrimSuffix(layout.OwnLinks, "-")} {
		if strings.HasPrefix(s, prefix) {
			return fmt.Sprintf("netd names its own links %s…", prefix)
		}
	}
	return ""
}

// linkLabel is a kernel's name of a link, or a board's label on a port.
func linkLabel() want[string] {
	w := matching("a link's name in the kernel or on the board, 1 to 31 letters, digits and signs without space, slash, colon or quote",
		"eth0", func(s string) bool { return len(s) <= 31 && isPrintable(s) && !strings.ContainsAny(s, " /:\"'") })
	return without(w, takenLink)
}

// serialNumber is what a firmware may call its board.
func serialNumber() want[string] {
	return matching("a serial number of printable characters, as the firmware gives it", "CZ12345678",
		func(s string) bool { return len(s) <= 128 && isPrintable(s) && strings.TrimSpace(s) == s })
}

// imageName is the name of a file in the image's folder of archives.
func imageName() want[string] {
	return matching("the file name of an OCI archive, which ends in .tar and has no folder", "web.tar",
		func(s string) bool {
			const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" // ToLower makes some of other alphabets ours.
			return strings.HasSuffix(s, ".tar") && only(s, 255, letters+"_.+@-") && !strings.ContainsRune(".+@-", rune(s[0]))
		})
}

// only says whether a string has from 1 to most octets, all of them lower-case
// letters, digits or in signs.
func only(s string, most int, signs string) bool {
	return len(s) > 0 && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune(signs, r))
	})
}

func isPrintable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
