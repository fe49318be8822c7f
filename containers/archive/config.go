package archive

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// check refuses what containerd or runc refuse at the start, and what they would take
// for something else. It names all of it.
func (c processConfig) check() error {
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			add("Env %q: expected NAME=VALUE", e)
		}
	}
	for _, l := range []struct {
		key   string
		words []string
	}{{"Entrypoint", c.Entrypoint}, {"Cmd", c.Cmd}} {
		for i, word := range l.words {
			if strings.ContainsRune(word, 0) || i == 0 && l.key == "Entrypoint" && word == "" {
				add("%s %q: expected a program and its arguments", l.key, l.words)
				break
			}
		}
	}
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		add("WorkingDir %q: expected a path from the root, e.g. %q", c.WorkingDir, "/"+c.WorkingDir)
	}
	if err := checkUser(c.User); err != nil {
		add("User %q: %v", c.User, err)
	}
	if c.StopSignal != "" && !signalName.MatchString(strings.ToUpper(c.StopSignal)) {
		add("StopSignal %q: expected a signal, e.g. SIGTERM or 15", c.StopSignal)
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// signalName is what a STOPSIGNAL may be: those of Linux, by name or number.
var signalName = regexp.MustCompile(`^((SIG)?(HUP|INT|QUIT|ILL|TRAP|ABRT|IOT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CLD|CHLD|CONT|STOP|TSTP|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|POLL|PWR|SYS|` +
	`RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)|[1-9]|[1-5][0-9]|6[0-4])$`)

// checkUser takes USER, UID, USER:GROUP and so on. Runc takes no number above 2^31-1,
// whatever the kernel does.
func checkUser(user string) error {
	if user == "" {
		return nil
	}
	parts := strings.Split(user, ":")
	if len(parts) > 2 || parts[0] == "" || len(parts) == 2 && parts[1] == "" {
		return errors.New("expected USER or USER:GROUP, by name or number")
	}
	for _, p := range parts {
		n, err := strconv.ParseInt(p, 10, 64)
		if errors.Is(err, strconv.ErrRange) || err == nil && (n < 0 || n > math.MaxInt32) {
			return fmt.Errorf("number %s: expected 0 to %d", p, math.MaxInt32)
		}
	}
	return nil
}
