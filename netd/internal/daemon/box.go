package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// becomeBox sets what belongs to a box as a whole: host name and root's password
// for the console. Neither stops the agent.
func (d *Daemon) becomeBox() {
	name := d.config.Gateway.Name
	err := unix.Sethostname([]byte(name))
	err = errors.Join(err, replaceFile(filepath.Join(d.opts.RunDir, "hostname"), []byte(name+"\n"), 0o644))
	hash := d.config.Management.ConsolePassword
	if hash == "" {
		hash = "$5$none$*" // no password matches, and busybox' login takes the salt
	}
	// busybox refuses an entry without a day of the last change (shadow(5)).
	shadow := fmt.Sprintf("root:%s:1::::::\n", hash)
	err = errors.Join(err, replaceFile(filepath.Join(d.opts.RunDir, "shadow"), []byte(shadow), 0o600))
	if err != nil {
		d.opts.Log.Error("host name and console password", "err", err)
	}
}

// writeResolvConf passes the name servers of the DHCP leases on.
func (d *Daemon) writeResolvConf() {
	if !d.opts.Appliance {
		return
	}
	var b strings.Builder
	for _, u := range d.config.Uplinks {
		for _, s := range d.leases[u.Name].DNS {
			fmt.Fprintf(&b, "nameserver %s\n", s)
		}
	}
	if err := os.WriteFile(filepath.Join(d.opts.RunDir, "resolv.conf"), []byte(b.String()), 0o644); err != nil {
		d.opts.Log.Error("name servers", "err", err)
	}
}
