package qemutest

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// console is what a machine has said, over all its starts, and the connection
// to it while there is one.
type console struct {
	mu      sync.Mutex
	text    []byte
	read    int           // Expect has come so far
	changed chan struct{} // closed and replaced at each change
	conn    net.Conn
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p...)
	close(c.changed)
	c.changed = make(chan struct{})
	return len(p), nil
}

// end is for error messages.
func (c *console) end() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "--- the console's last 60 lines:\n" + strings.ReplaceAll(lastLines(c.text, 60), "\r", "")
}

// take looks for a match behind the last one, and returns a channel that is
// closed when it is worth another look.
func (c *console) take(re *regexp.Regexp) ([][]byte, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := re.FindSubmatchIndex(c.text[c.read:])
	if m == nil {
		return nil, c.changed
	}
	var groups [][]byte
	for i := 0; i < len(m); i += 2 {
		var g []byte
		if m[i] >= 0 {
			g = append(g, c.text[c.read+m[i]:c.read+m[i+1]]...)
		}
		groups = append(groups, g)
	}
	c.read += m[1]
	return groups, nil
}

// AttachConsole takes the console after ReleaseConsole.
func (m *Machine) AttachConsole(ctx context.Context) error {
	conn, err := m.dial(ctx, "console")
	if err != nil {
		return err
	}
	m.console.mu.Lock()
	m.console.conn = conn
	m.console.mu.Unlock()
	go func() { _, _ = io.Copy(m.console, conn) }() // until the console is released, or QEMU ends
	return nil
}

// ReleaseConsole lets somebody else connect to ConsoleSocket: QEMU takes one at
// a time. What is said meanwhile is in the log only.
func (m *Machine) ReleaseConsole() {
	m.console.mu.Lock()
	defer m.console.mu.Unlock()
	if m.console.conn != nil {
		m.console.conn.Close()
		m.console.conn = nil
	}
}

// ConsoleSocket is the console's unix socket, e.g. for
// socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:PATH; see ReleaseConsole.
func (m *Machine) ConsoleSocket() string { return m.file("console") }

// ConsoleLog is the file with everything that the console has said.
func (m *Machine) ConsoleLog() string { return m.file("console.log") }

// Console is what the console has said so far.
func (m *Machine) Console() string {
	m.console.mu.Lock()
	defer m.console.mu.Unlock()
	return string(m.console.text)
}

// Send types.
func (m *Machine) Send(text string) error {
	m.console.mu.Lock()
	conn := m.console.conn
	m.console.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("type on the console of %s: it is not attached", filepath.Base(m.opts.Dir))
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return fmt.Errorf("type on the console: %w", err)
	}
	return nil
}

// Expect waits until the console says something new that matches, and returns
// the match. What comes behind it is left for the next one.
func (m *Machine) Expect(ctx context.Context, pattern string) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	groups, err := m.expect(ctx, re)
	if err != nil {
		return "", err
	}
	return string(groups[0]), nil
}

func (m *Machine) expect(ctx context.Context, re *regexp.Regexp) ([][]byte, error) {
	ended := m.Done()
	for {
		groups, changed := m.console.take(re)
		if groups != nil {
			return groups, nil
		}
		select {
		case <-changed:
		case <-ended:
			if groups, _ := m.console.take(re); groups != nil {
				return groups, nil
			}
			return nil, fmt.Errorf("expect %q: the machine is off: %v\n%s\n%s", re, m.current().err, m.console.end(), tail(m.file("qemu.log"), 5))
		case <-ctx.Done():
			return nil, fmt.Errorf("expect %q: %w\n%s", re, context.Cause(ctx), m.console.end())
		}
	}
}

// Login logs in, and tries again until the context ends: a box lets nobody in
// before it has read its configuration.
func (m *Machine) Login(ctx context.Context, user, password string) error {
	if err := m.Send("\n"); err != nil {
		return err
	}
	// What daemons say may stand behind a prompt, so none is looked for at the
	// end of the text.
	const shell = `(?m)^\S+@\S+[#$] `
	for {
		if _, err := m.Expect(ctx, ` login: `); err != nil {
			return fmt.Errorf("log in: %w", err)
		}
		if err := m.Send(user + "\n"); err != nil {
			return err
		}
		answer, err := m.Expect(ctx, `Password: |`+shell)
		if err == nil && answer == "Password: " {
			if err = m.Send(password + "\n"); err == nil {
				answer, err = m.Expect(ctx, `Login incorrect|`+shell)
			}
		}
		if err != nil {
			return fmt.Errorf("log in: %w", err)
		}
		if answer != "Login incorrect" {
			break
		}
	}
	// A shell that reads from the terminal without editing, echo or prompt: its
	// output is a pipe, so it is not interactive.
	if err := m.Send("stty -echo; sh -s 2>&1 | cat; stty echo\n"); err != nil {
		return err
	}
	m.mu.Lock()
	m.shell = 1
	m.mu.Unlock()
	if _, err := m.Run(ctx, "true"); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}

// maxCommand keeps a command below a terminal's 4095 octets a line.
const maxCommand = 3000

// Run runs a command in a shell of its own after Login, and returns what it
// wrote to either output, without lines that look like the kernel's or a
// daemon's, which may come in between (dmesg | sed 's/^/ /' is seen). An exit
// status other than 0 is an ExitError.
func (m *Machine) Run(ctx context.Context, command string) (string, error) {
	m.mu.Lock()
	n := m.shell
	if n > 0 {
		m.shell++
	}
	m.mu.Unlock()
	if n == 0 {
		return "", fmt.Errorf("run %q: nobody is logged in", command)
	}
	if len(command) > maxCommand {
		return "", fmt.Errorf("run a command of %d octets: more than %d do not fit the terminal", len(command), maxCommand)
	}
	// The marks are put together by printf, so an echo of the line is none.
	quoted := "'" + strings.ReplaceAll(command, "'", `'\''`) + "'"
	line := fmt.Sprintf("printf '\\n@%%s-%%d@\\n' begin %d; sh -c %s </dev/null 2>&1; printf '\\n@%%s-%%d:%%d@\\n' end %d $?\n", n, quoted, n)
	if err := m.Send(line); err != nil {
		return "", err
	}
	groups, err := m.expect(ctx, regexp.MustCompile(fmt.Sprintf(`(?s)@begin-%d@\r?\n(.*?)\r?\n@end-%d:([0-9]+)@`, n, n)))
	if err != nil {
		return "", fmt.Errorf("run %q: %w", command, err)
	}
	out := cleanOutput(string(groups[1]))
	status, err := strconv.Atoi(string(groups[2]))
	if err != nil {
		return out, err
	}
	if status != 0 {
		return out, &ExitError{Command: command, Status: status, Output: out}
	}
	return out, nil
}

// ExitError is a command that has ended with another status than 0.
type ExitError struct {
	Command string
	Status  int
	Output  string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", e.Command, e.Status, strings.TrimSpace(e.Output))
}

// cleanOutput takes away carriage returns and lines that are not the command's:
// the kernel's, and those of netd init and of the daemons that it speaks for.
func cleanOutput(s string) string {
	foreign := regexp.MustCompile(`^\[ *[0-9]+\.[0-9]{6}\] |^netd init: |^(?:run|containerd): .*\blevel=|^netd [^ ]+: (?:GOOD|DEGRADED|DOWN) `)
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(s, "\r", ""), "\n") {
		if !foreign.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
