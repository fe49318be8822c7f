package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"netd/netd/internal/intent"
	"netd/netd/layout"
)

// noPassword matches none, and busybox' login takes the salt.
const noPassword = "$5$none$*"

// password is root's hash, empty if nobody can log in: a configuration without one leaves
// it to the image, which was made with one then.
func (o Options) password(b intent.Box) string {
	if b.NoLogin || b.ConsolePassword != "" {
		return b.ConsolePassword
	}
	return o.madeWith
}

// readMadeWith is empty for an image that was made with a password in its configuration,
// and for a machine that no image was made for.
func (o Options) readMadeWith() string {
	hash, err := os.ReadFile(filepath.Join(filepath.Dir(o.FactoryFile), filepath.Base(layout.ConsolePassword)))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(hash))
}

// becomeBox sets what belongs to a box as a whole: host name, root's password for the
// console, and the name servers of the DHCP leases. None of it stops the agent.
func (o Options) becomeBox(b intent.Box) error {
	// busybox refuses an entry without a day of the last change (shadow(5)).
	shadow := fmt.Sprintf("root:%s:1::::::\n", cmp.Or(o.password(b), noPassword))
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

// openDoor lets whoever has the image's password in to a box that has no configuration
// which it could use, and says so there: without one nobody could mend it.
func (o Options) openDoor(why error) error {
	if !o.Appliance {
		return nil
	}
	login := "as root, with the password that was made for the image"
	if o.madeWith == "" {
		login = "nobody can log in: the password is in a configuration that can not be used"
	}
	rows := append([]string{"", "netd " + o.Version, "DOWN"}, strings.Split(why.Error(), "\n")...)
	return errors.Join(o.becomeBox(intent.Box{Name: "netd"}),
		replaceFile(filepath.Join(o.RunDir, filepath.Base(layout.Issue)), []byte(issue(append(rows, "login     "+login))), 0o644))
}
