package cli

import (
	"fmt"
	"io"
	"strings"

	"netd/netd/internal/api"
)

// printFiltered says which rule decided on each path, and what rules have changed.
func printFiltered(out io.Writer, e api.Explanation) {
	if e.Problem != "" {
		fmt.Fprintf(out, "filters: not known: %s\n", e.Problem)
	}
	for _, f := range e.Received {
		verdict := "refused"
		if f.Accepted {
			verdict = "accepted"
		}
		fmt.Fprintf(out, "filters: %s told %s%s: %s by %s\n", f.Peer, f.Prefix, attributes(f), verdict, f.Rule)
		printChanges(out, f)
	}
	for _, f := range e.Told {
		verdict := "is not told"
		if f.Accepted {
			verdict = "is told"
		}
		fmt.Fprintf(out, "filters: %s %s %s%s, by %s\n", f.Peer, verdict, f.Prefix, attributes(f), f.Rule)
		printChanges(out, f)
	}
}

func printChanges(out io.Writer, f api.Filtered) {
	for _, c := range f.Changes {
		fmt.Fprintf(out, "         %s: %s\n", c.Rule, c.Change)
	}
}

func attributes(f api.Filtered) string {
	s := ""
	if f.NextHop.IsValid() {
		s += fmt.Sprintf(" via %s", f.NextHop)
	}
	if len(f.ASPath) > 0 {
		s += fmt.Sprintf(", AS path %s", strings.Trim(fmt.Sprint(f.ASPath), "[]"))
	}
	if len(f.Communities) > 0 {
		s += ", communities " + strings.Join(f.Communities, " ")
	}
	return s
}
