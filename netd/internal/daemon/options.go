package daemon

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"netd/netd/config"
	"netd/netd/layout"
)

// Options of the agent. The zero value of a path is its place on a gateway
// (netd/DESIGN.md, Files).
type Options struct {
	// ConfigFile is the only file that is tried before the last good one; empty
	// means the active file, and after the last good one the factory's.
	ConfigFile string
	// DataDir survives a reboot, RunDir does not.
	DataDir, RunDir string
	// NetnsDir has the pods' namespaces.
	NetnsDir string
	// ContainerdSocket, ImageDir, Shim and Runc are for the workloads.
	ContainerdSocket, ImageDir, Shim, Runc string
	// FactoryFile is the image's configuration, BoardFile has the labels of the
	// ports.
	FactoryFile, BoardFile string
	// Appliance: this agent owns the whole box, host name and console password too.
	Appliance bool
	// madeWith is root's password hash that the image was made with, if any.
	madeWith string
	// Device overrides the name by which [[device]] tables are matched.
	Device  string
	Version string
	Log     *slog.Logger
	// Words gets what is no line of the log: the speaker's own words, and the agent's last.
	// Like the log it must not wait.
	Words io.Writer
	// End ends the process at once, with its last words said.
	End func()
}

func (o Options) withDefaults() Options {
	for p, def := range map[*string]string{
		&o.DataDir: layout.DataDir, &o.RunDir: layout.RunDir, &o.NetnsDir: layout.NetnsDir,
		&o.FactoryFile: layout.FactoryFile, &o.BoardFile: layout.BoardFile,
	} {
		if *p == "" {
			*p = def
		}
	}
	return o
}

// Socket is the API's path for a run folder.
func Socket(runDir string) string { return filepath.Join(runDir, layout.SocketName) }

// loaded is a configuration and where it came from.
type loaded struct {
	config *config.Config
	file   string
	data   []byte
	// passwords are those of its password files; missing is why some are not known.
	passwords map[string]string
	missing   error
	// problem says why an earlier choice was not taken.
	problem string
	// passing: it is on trial, or came as a text of no file: it is not, or not yet, to
	// be kept as the last good one.
	passing bool
}

// activeFile is the operator's own, which an apply replaces.
func (o Options) activeFile() string {
	return cmp.Or(o.ConfigFile, filepath.Join(o.DataDir, "netd.toml"))
}

func (o Options) lastGood() string { return filepath.Join(o.DataDir, "last-good.toml") }

// files are the choices of configuration, the first one first.
func (o Options) files() []string {
	active := o.activeFile()
	if o.ConfigFile != "" {
		return []string{active, o.lastGood()}
	}
	// A box that nobody has configured by hand runs its factory file, also when an
	// update has brought a new one.
	if _, err := os.Stat(active); errors.Is(err, os.ErrNotExist) {
		return []string{o.FactoryFile, o.lastGood()}
	}
	return []string{active, o.lastGood(), o.FactoryFile}
}

// load takes the first file that is good: the chosen one, the last good one, the
// factory's. Each that is not is logged with all its errors.
func (o Options) load(id config.Identity) (loaded, error) {
	var l loaded
	var errs []error
	for _, file := range o.files() {
		data, err := config.ReadFile(file)
		if err == nil {
			var warnings []config.Warning
			l.config, warnings, err = config.Parse(file, data, id)
			for _, w := range warnings {
				o.Log.Warn("configuration", "warning", w.String())
			}
		}
		if err == nil {
			l.file, l.data = file, data
			l.passwords, l.missing = o.readPasswords(l.config)
			if l.problem = text(errs); l.problem != "" {
				o.Log.Error("the configuration is bad; running with another one", "file", file, "instead_of", l.problem)
			}
			return l, nil
		}
		errs = append(errs, err)
	}
	return l, fmt.Errorf("no usable configuration:\n%w", errors.Join(errs...))
}

func text(errs []error) string {
	if err := errors.Join(errs...); err != nil {
		return err.Error()
	}
	return ""
}

// keepAsLastGood remembers a configuration that was applied without an error.
func (o Options) keepAsLastGood(l loaded) error {
	path := o.lastGood()
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, l.data) {
		return nil
	}
	if err := replaceFile(path, l.data, 0o600); err != nil {
		return fmt.Errorf("keep the last good configuration: %w", err)
	}
	return nil
}

// newSuffix names a file that is being written.
const newSuffix = ".new-*"

// replaceFile puts content in the place of a file so that a power cut leaves the
// old or the new one, whole.
func replaceFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+newSuffix)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// rename puts a file in the place of another of its folder, durably.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lock makes sure that there is one agent for a run folder.
func lock(runDir string) (*os.File, error) {
	path := filepath.Join(runDir, "netd.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.Read(holder)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another netd is running (pid %s holds %s)", strings.TrimSpace(string(holder[:n])), path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return f, err
}

// Identity reads who this box is: for the [[device]] tables.
func Identity(device string) config.Identity {
	id := config.Identity{Name: device}
	if cmdline, err := os.ReadFile("/proc/cmdline"); err == nil && device == "" {
		for word := range strings.FieldsSeq(string(cmdline)) {
			if name, ok := strings.CutPrefix(word, "netd.name="); ok {
				id.Name = name
			}
		}
	}
	for _, file := range []string{"/sys/class/dmi/id/product_serial", "/proc/device-tree/serial-number"} {
		if serial, err := os.ReadFile(file); err == nil && id.Serial == "" {
			id.Serial = strings.TrimRight(string(serial), "\x00\n ")
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return id
	}
	for _, i := range interfaces {
		if len(i.HardwareAddr) == 6 {
			id.MACs = append(id.MACs, i.HardwareAddr)
		}
	}
	return id
}
