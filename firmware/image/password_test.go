package image

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"netd/netd/config"
)

// The hash is the password's, and no two images have the same.
func TestMakePassword(t *testing.T) {
	var told []string
	j := &job{o: Options{Password: func(p string) { told = append(told, p) }}}
	for range 2 {
		hash, err := j.makePassword(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		password := told[len(told)-1]
		if !regexp.MustCompile(`^([a-z]{4}-){3}[a-z]{4}$`).MatchString(password) {
			t.Errorf("the password is %q", password)
		}
		salt := strings.Split(hash, "$")[2]
		if got := tool(t, "openssl", "passwd", "-6", "-salt", salt, password); got != hash {
			t.Errorf("%s hashes to %s, the image has %s", password, got, hash)
		}
	}
	if told[0] == told[1] {
		t.Error("the same one twice")
	}
}

// Who is to get a password made, and what the kernel speaks to.
func TestCheckedBeforeTheBuild(t *testing.T) {
	for file, want := range map[string]bool{"lab.toml": false, "single.toml": true} {
		o := options(t, "qemu-x86_64")
		o.Config, o.Device = top+"/configs/examples/"+file, ""
		j := &job{o: o, archives: map[string]string{}}
		if err := j.check(); err != nil || j.noLogin != want {
			t.Errorf("%s: no password is %v, want %v (%v)", file, j.noLogin, want, err)
		}
	}
	b := &config.Board{Name: "b", Console: "ttyS0", Baud: 9600}
	for screen, want := range map[bool][]string{false: {"console=ttyS0,9600"}, true: {"console=tty0", "console=ttyS0,9600"}} {
		b.Screen = screen
		words := strings.Fields((&job{o: Options{Board: b}}).cmdline())
		words = slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, "console=") })
		if !slices.Equal(words, want) {
			t.Errorf("screen %v: %v, want %v", screen, words, want)
		}
	}
}
