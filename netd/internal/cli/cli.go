package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"netd/netd/config"
	"netd/netd/internal/api"
)

// Env is what a verb works with.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Version  string
	// Socket is the agent's, unless --socket says otherwise.
	Socket string
}

// ErrUsage means that the arguments were wrong; usage has been printed.
var ErrUsage = errors.New("usage")

// verb is one command.
type verb struct {
	name, args, short, long string
	run                     func(context.Context, *call) error
	// local verbs need no agent, so they have no --socket and --json.
	local bool
}

// call is a verb with its arguments.
type call struct {
	Env
	flags *flag.FlagSet
	args  []string
	json  bool
	agent *api.Client
}

func verbs() []verb {
	return []verb{
		{name: "status", short: "the gateway at a glance", run: status, long: `
Prints name, uplinks, LANs, tunnel, sessions, routes and pods of this gateway, and every
problem it knows of. Exit status 0 also when there are problems.`},
		{name: "peers", args: "[NAME]", short: "BGP sessions, or all about one of them", run: peers, long: `
One line a session: state, since when, how often it was lost since the agent has
started (FLAPS), prefixes received, accepted (by the import filter) and sent, and why
it was last lost or does not come up. With NAME all that is known of one: timers, families, what the peer
can do, what the configuration says.`},
		{name: "routes", short: "which way each prefix goes, and why", run: routes, long: `
One line a prefix. KIND is pod, blackhole (the unused part of an own block), native (the
next hop is on a connected subnet), onlink (a router in no subnet), ipip, sit, ip6tnl or
vxlan (the tunnel to another gateway); "-" has no route. netd explain tells more of one.`},
		{name: "pods", short: "pods, their addresses and states", run: pods, long: `
One line a pod; REASON says why it does not run, and its workload's key restart what
then follows. Its network namespace has its name: ip netns exec POD ping 10.64.2.0`},
		{name: "metrics", short: "what Prometheus would read", run: metrics, long: `
Prints the metrics in Prometheus' text format. They are also served over TCP where the
configuration has [management] metrics = "ADDRESS:PORT".`},
		{name: "explain", args: "ADDR|PREFIX", short: "which way an address goes and why, or why not", run: explain, long: `
Shows the decision for the longest known prefix that covers ADDR or PREFIX, every
path that was considered with the reason for or against it, and what the kernel
does at this moment. Then, of all prefixes that cover it, what peers have told and
which rule of which filter accepted or refused it, and what peers are told of ours.`},
		{name: "check", args: "[-v] [--device NAME] FILE…", short: "check configuration files", run: check, local: true, long: `
Reads each file ("-" is standard input) as the gateway would and prints every error as
file:line:col: key: value: expected …; exit status 1 if there is any. Without
--device every [[device]] of the file is checked. -v prints what is in effect, as
TOML that means the same.`},
		{name: "reload", args: "[FILE]", short: "take the configuration file as it is now", run: reload, long: `
Reads the active file again, checks all of it, and changes what differs while
everything runs: sessions, links and pods that are not concerned do not notice.
Prints every value that changes. A bad file touches nothing. With FILE, that one is
used instead, until the next reload or restart. SIGHUP to netd run does the same.`},
		{name: "apply", args: "[--confirm TIME] FILE", short: "make FILE the active configuration", run: apply, long: `
Checks FILE, changes what differs, and makes it the active file. With --confirm the
former configuration comes back after TIME unless somebody runs netd confirm before:
also if the connection breaks, the agent crashes or the power fails. Any restart
before netd confirm is with the former configuration.`},
		{name: "confirm", short: "keep what was applied with --confirm", run: confirm, long: `
Makes the configuration on trial the active one, for good. It is no error if that was
done before; it is one if the trial came to its end first.`},
		{name: "rollback", short: "give up what was applied with --confirm", run: rollback, long: `
Brings the former configuration back at once. The file that was on trial is kept
beside the active one as FILE.rejected.`},
		{name: "drain", args: "[--undo]", short: "ask all peers to use other gateways", run: drain, long: `
Marks what this gateway announces with the community GRACEFUL_SHUTDOWN (RFC 8326), so
that peers prefer any other way, and sessions stay up: traffic moves before a box is
taken down. It holds until --undo or a reboot, also over restarts of the agent.`},
		{name: "peer", args: "down|up NAME", short: "end a session until further notice", run: peerVerb, long: `
down ends the session in order and tells the peer why (--message, RFC 9003); it stays
down until up or a reboot, also over restarts of the agent and reloads.`},
		{name: "pod", args: "add|del NAME", short: "make or remove a pod's network by hand", run: podVerb, long: `
add makes a namespace NAME with an address of each family that this gateway has a
block of, routed and guarded like a workload's, and prints them; del takes it away.
For trying things: ip netns exec NAME …`},
		{name: "version", short: "version of this binary", run: version, local: true},
	}
}

// Help is the text of netd --help.
func Help(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `netd %s: a gateway's boot, pods and routes in one binary.

Ask the agent of this gateway (each takes --json and --socket PATH):
`, version)
	for _, v := range verbs() {
		if !v.local {
			fmt.Fprintf(&b, "  netd %-28s %s\n", strings.TrimSpace(v.name+" "+v.args), v.short)
		}
	}
	b.WriteString("\nWithout an agent:\n")
	for _, v := range verbs() {
		if v.local {
			fmt.Fprintf(&b, "  netd %-28s %s\n", strings.TrimSpace(v.name+" "+v.args), v.short)
		}
	}
	b.WriteString(`
Roles (a gateway starts them itself):
  netd init                         PID 1, where the image's own stage 1 is not: children, clock, power
  netd run [--config FILE]          the agent: links, pods, routes, BGP
  netd containerd                   containerd's server, with what pods need
  netd bgp --socket PATH            the BGP speaker, a child of netd run
  netd bfd --socket PATH            the BFD sessions, which go on while netd run restarts

netd VERB --help tells more. Exit status: 0 done, 1 failed, 2 wrong usage.
`)
	return b.String()
}

// Names lists the verbs.
func Names() []string {
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	return names
}

// Run does the verb. The error is one line for a person.
func Run(ctx context.Context, e Env, name string, args []string) error {
	i := slices.IndexFunc(verbs(), func(v verb) bool { return v.name == name })
	if i < 0 {
		fmt.Fprintf(e.Err, "netd: no verb %q%s; netd --help lists them\n", name, nearest(name))
		return ErrUsage
	}
	v := verbs()[i]
	c := &call{Env: e, flags: flag.NewFlagSet(name, flag.ContinueOnError)}
	c.flags.SetOutput(e.Err)
	c.flags.Usage = func() {
		fmt.Fprintf(e.Err, "usage: netd %s\n%s\n", strings.TrimSpace(v.name+" [options] "+v.args), v.long)
		c.flags.PrintDefaults()
	}
	if !v.local {
		c.flags.BoolVar(&c.json, "json", false, "print JSON")
		c.flags.StringVar(&c.Socket, "socket", e.Socket, "the agent's socket")
	}
	c.args = args
	return v.run(ctx, c)
}

// parse reads the options, wherever they stand among the arguments, and checks
// how many arguments remain.
func (c *call) parse(least, most int) error {
	var rest []string
	for args := c.args; ; args = c.flags.Args()[1:] {
		if err := c.flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return ErrUsage
		}
		if c.flags.NArg() == 0 {
			break
		}
		rest = append(rest, c.flags.Arg(0))
	}
	c.args = rest
	c.agent = api.NewClient(c.Socket)
	if len(rest) < least || len(rest) > most {
		c.flags.Usage()
		return ErrUsage
	}
	return nil
}

// show prints v as JSON if that was asked for, else by the function.
func (c *call) show(v any, human func()) error {
	if !c.json {
		human()
		return nil
	}
	enc := json.NewEncoder(c.Out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// done says what a change has done, to a person.
func (c *call) done(said string) error {
	return c.show(struct{}{}, func() { fmt.Fprintln(c.Out, said) })
}

func version(_ context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.Out, "netd", c.Version)
	return err
}

// nearest suggests the verb that is meant by a wrong one: misspelt, cut short, or
// another program's word for it.
func nearest(name string) string {
	best := map[string]string{
		"config": "check", "validate": "check", "test": "check", "restart": "reload", "commit": "confirm", "undo": "rollback",
		"neighbors": "peers", "neighbours": "peers", "ps": "pods", "show": "status", "trace": "explain",
	}[name]
	if best == "" {
		best = config.Nearest(name, Names())
	}
	for _, n := range Names() {
		if best == "" && len(name) > 2 && strings.HasPrefix(n, name) {
			best = n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// DefaultSocket is the agent's socket on this machine: NETD_SOCKET, or the usual one.
func DefaultSocket(usual string) string {
	if s := os.Getenv("NETD_SOCKET"); s != "" {
		return s
	}
	return usual
}
