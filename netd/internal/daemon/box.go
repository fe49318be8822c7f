package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"netd/netd/internal/intent"
)

// noPassword matches none, and busybox' login takes the salt.
const noPassword = "$5$none$*"

// becomeBox sets what belongs to a box as a whole: host name, root's password for the
// console, and the name servers of the DHCP leases. None of it stops the agent.
func (o Options) becomeBox(b intent.Box) error {
	// busybox refuses an entry without a day of the last change (shadow(5)).
	shadow := fmt.Sprintf("root:%s:1::::::\n", cmp.Or(b.ConsolePassword, noPassword))
	var servers strings.Builder
	for _, s := range b.NameServers {
		fmt.Fprintf(&servers, "nameserver %s\n", s)
	}
	err := errors.Join(
		unix.Sethostname([]byte(b.Name)),
		replaceFile(filepath.Join(o.RunDir, "hostname"), []byte(b.Name+"\n"), 0o644),
		replaceFile(filepath.Join(o.RunDir, "shadow"), []byte(shadow), 0o600),
		replaceFile(filepath.Join(o.RunDir, "resolv.conf"), []byte(servers.String()), 0o644))
	if err != nil {
		return fmt.Errorf("host name, console password and name servers: %w", err)
	}
	return nil
}
