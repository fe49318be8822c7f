package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"netd/netd/config"
)

// ports are the board's sockets: where they are, and what is printed beside them.
type ports []config.Port

// loadPorts reads what the board's sockets are called. A machine that no image
// was built for has no such file.
func (o Options) loadPorts() ports {
	if _, err := os.Stat(o.BoardFile); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	b, err := config.LoadBoard(o.BoardFile)
	if err != nil {
		o.Log.Error("the board's file is bad; uplinks can not be matched by the labels of its ports", "err", err)
		return nil
	}
	return b.Ports
}

// boardName is empty on a machine that no image was built for.
func (o Options) boardName() string {
	b, err := config.LoadBoard(o.BoardFile)
	if err != nil {
		return "" // loadPorts has told.
	}
	return b.Name
}

// portMACs are the MAC addresses of the links that are at the board's ports now, by label.
// They are looked up anew each time: a link is found also after it was renamed.
func (u *uplinks) portMACs() map[string]net.HardwareAddr {
	all := map[string]net.HardwareAddr{}
	for _, p := range u.ports {
		mac, err := portMAC("/sys", p.Path)
		if err != nil {
			u.log.Debug("port of the board", "label", p.Label, "err", err)
			continue
		}
		all[p.Label] = mac
	}
	return all
}

// portMAC returns the MAC address of the link whose device is the folder path
// under sys/devices, or below it.
func portMAC(sys, path string) (net.HardwareAddr, error) {
	links, err := filepath.Glob(filepath.Join(sys, "class/net/*"))
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		device, err := os.Readlink(l) // ../../devices/PATH/net/eth0
		if err != nil || !strings.Contains(device+"/", "/devices/"+path+"/") {
			continue // (class/net has files that are no links, such as bonding_masters)
		}
		// A member of a bond shows the bond's address, and here its own.
		text, err := os.ReadFile(filepath.Join(l, "bonding_slave/perm_hwaddr"))
		if errors.Is(err, os.ErrNotExist) {
			text, err = os.ReadFile(filepath.Join(l, "address"))
		}
		if err != nil {
			return nil, err
		}
		return net.ParseMAC(strings.TrimSpace(string(text)))
	}
	return nil, fmt.Errorf("no link at %s/devices/%s", sys, path)
}
