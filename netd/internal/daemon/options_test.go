package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netd/netd/config"
	"netd/netd/internal/intent"
)

// good is a configuration whose gateway has the name.
func good(name string) string {
	return fmt.Sprintf(`schema = 1
[gateway]
name = %q
[[uplink]]
name = "uplink0"
match = { name = "eth0" }
address = ["10.0.1.11/24"]
[bgp]
as = 65101
`, name)
}

func TestLoadOrder(t *testing.T) {
	const bad = "schema = 1\n[gatway]\n"
	type files struct{ active, lastGood, factory string } // "" is absent
	tests := []struct {
		name    string
		files   files
		want    string // the gateway's name
		problem string // in what is said of the others; "" for nothing
	}{
		{"the active file", files{good("active"), good("last"), good("factory")}, "active", ""},
		{"nobody has configured the box", files{"", good("last"), good("factory")}, "factory", ""},
		{"a bad active file: the last good one", files{bad, good("last"), good("factory")}, "last", "netd.toml:2:1: gatway: unknown key"},
		{"nothing was ever applied: the factory's", files{bad, "", good("factory")}, "factory", "netd.toml:2:1: gatway: unknown key"},
		{"a bad factory file", files{"", good("last"), bad}, "last", "factory.toml:2:1: gatway: unknown key"},
		{"two bad ones", files{bad, bad, good("factory")}, "factory", "last-good.toml:2:1: gatway: unknown key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			dir := t.TempDir()
			o := Options{DataDir: dir, FactoryFile: filepath.Join(dir, "factory.toml"), Log: slog.New(slog.NewTextHandler(&log, nil))}
			for name, text := range map[string]string{"netd.toml": tt.files.active, "last-good.toml": tt.files.lastGood, "factory.toml": tt.files.factory} {
				write(t, filepath.Join(dir, name), text)
			}
			l, err := o.load(config.Identity{})
			if err != nil {
				t.Fatal(err)
			}
			if l.config.Gateway.Name != tt.want || (tt.problem == "") != (l.problem == "") || !strings.Contains(l.problem, tt.problem) {
				t.Errorf("took %s of %s, problem %q, want %s, %q", l.config.Gateway.Name, l.file, l.problem, tt.want, tt.problem)
			}
			if said := strings.Contains(log.String(), "the configuration is bad"); said != (tt.problem != "") {
				t.Errorf("log: %q", log.String())
			}
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if text == "" {
		return
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A file that is named is the only first choice: neither the active nor the
// factory's file is looked at.
func TestLoadChosen(t *testing.T) {
	dir := t.TempDir()
	o := Options{
		DataDir: dir, FactoryFile: filepath.Join(dir, "factory.toml"), ConfigFile: filepath.Join(dir, "mine.toml"), Log: slog.New(slog.DiscardHandler),
	}
	write(t, filepath.Join(dir, "netd.toml"), good("active"))
	write(t, filepath.Join(dir, "factory.toml"), good("factory"))
	_, err := o.load(config.Identity{})
	if err == nil || !strings.Contains(err.Error(), "no usable configuration:\nopen "+o.ConfigFile+": no such file") || !strings.Contains(err.Error(), "last-good.toml") {
		t.Errorf("nothing there: %v", err)
	}
	write(t, o.ConfigFile, good("mine"))
	l, err := o.load(config.Identity{})
	if err != nil || l.config.Gateway.Name != "mine" {
		t.Errorf("the chosen file: %+v, %v", l.config, err)
	}
	for range 2 { // The second time there is nothing to do.
		if err := o.keepAsLastGood(l); err != nil {
			t.Fatal(err)
		}
	}
	write(t, o.ConfigFile, "schema = 1")
	if l, err = o.load(config.Identity{}); err != nil || l.config.Gateway.Name != "mine" || l.problem == "" {
		t.Errorf("after the chosen file went bad: %+v, %v, want the last good one", l, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestOneAgent(t *testing.T) {
	dir := t.TempDir()
	f, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("another netd is running (pid %d holds %s)", os.Getpid(), filepath.Join(dir, "netd.lock"))
	if _, err := lock(dir); err == nil || err.Error() != want {
		t.Errorf("a second lock: %v, want %s", err, want)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = lock(dir); err != nil {
		t.Fatalf("after the first agent's end: %v", err)
	}
	_ = f.Close()
}

// What an earlier life did not come to the end of is put in order: a trial is over, and
// files that were being written are gone.
func TestTidy(t *testing.T) {
	dir := t.TempDir()
	o := Options{DataDir: dir, FactoryFile: filepath.Join(dir, "factory.toml"), Log: slog.New(slog.DiscardHandler)}
	active := filepath.Join(dir, "netd.toml")
	if ended := o.tidy(); ended != "" {
		t.Errorf("with nothing there: %q", ended)
	}
	write(t, active, good("active"))
	for _, name := range []string{"netd.toml.trial", "netd.toml.new-1", "netd.toml.trial.new-2", "last-good.toml.new-3", "netd.toml.rejected"} {
		write(t, filepath.Join(dir, name), good(strings.ReplaceAll(name, ".", "-")))
	}
	want := active + ".rejected was rolled back: the agent was restarted before netd confirm"
	if ended := o.tidy(); ended != want {
		t.Errorf("a trial was left: %q, want %q", ended, want)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 || left[0] != active || left[1] != active+".rejected" {
		t.Errorf("left: %q, %v", left, err)
	}
	if b, err := os.ReadFile(active + ".rejected"); err != nil || string(b) != good("netd-toml-trial") {
		t.Errorf("rejected: %v\n%s", err, b)
	}
	if l, err := o.load(config.Identity{}); err != nil || l.config.Gateway.Name != "active" {
		t.Errorf("in use: %+v, %v", l.config, err)
	}
}

// Orders outlast the agent; a file that is torn is as none.
func TestOrdersKept(t *testing.T) {
	o := Options{RunDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if got := o.loadOrders(); got.Drain || got.Down != nil {
		t.Errorf("no orders: %+v", got)
	}
	want := intent.Orders{Drain: true, Down: map[string]string{"tor1": "moving"}}
	if err := o.keepOrders(want); err != nil {
		t.Fatal(err)
	}
	got := o.loadOrders()
	if !got.Drain || got.Down["tor1"] != "moving" {
		t.Errorf("kept: %+v, want %+v", got, want)
	}
	write(t, o.ordersFile(), "{")
	if got := o.loadOrders(); got.Drain {
		t.Errorf("of a torn file: %+v", got)
	}
}
