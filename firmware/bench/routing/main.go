// Command routing measures netd's routing against named peers, and prints ratios:
// BIRD 2 and FRR (bgpd and zebra) take the same feeds, in turn, round by round.
//
// All of them run in namespaces of this machine. What is printed is the median of
// the rounds, and its least and greatest. Seconds depend on the machine and are
// there to be divided. Nothing is asserted, and nothing is left behind.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted; everything is taken down")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "routing:", err)
		os.Exit(1)
	}
}

// Report is what --json writes.
type Report struct {
	Convergence []Convergence `json:"convergence,omitempty"`
	Failover    []Failover    `json:"failover,omitempty"`
	Throughput  *Throughput   `json:"throughput,omitempty"`
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("routing", flag.ContinueOnError)
	quick := f.Bool("quick", false, "one round of a few feeds only")
	rounds := f.Int("rounds", 3, "`number` of rounds")
	parts := f.String("parts", "convergence,failover,throughput", "`what` to measure")
	only := f.String("receivers", "", "`names` of the receivers, with commas between (default: all)")
	var feeds []Feed
	f.Func("feed", "measure this `PREFIXES/PER-UPDATE/PEERS` only; may be given again", func(s string) error {
		var one Feed
		if _, err := fmt.Sscanf(s, "%d/%d/%d", &one.Prefixes, &one.Per, &one.Peers); err != nil {
			return fmt.Errorf("expected numbers, e.g. 10000/50/1: %w", err)
		}
		feeds = append(feeds, one)
		return nil
	})
	file := f.String("json", "", "also write everything that was measured to this `file`, as JSON")
	if err := f.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if f.NArg() > 0 || *rounds < 1 {
		return errors.New("expected options only, and at least one round; see --help")
	}
	if *quick {
		*rounds = 1
	}
	switch {
	case feeds != nil:
	case *quick:
		feeds = quickFeeds()
	default:
		feeds = allFeeds()
	}
	if *parts == throughputHere {
		return sayThroughput(ctx)
	}
	r, err := measure(ctx, strings.Split(*parts, ","), *only, feeds, *rounds)
	if err != nil {
		return err
	}
	printConvergence(os.Stdout, r.Convergence)
	printStages(os.Stdout, r.Convergence)
	printFailover(os.Stdout, r.Failover)
	printThroughput(os.Stdout, r.Throughput)
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o644)
}

// measure does the parts.
func measure(ctx context.Context, parts []string, only string, feeds []Feed, rounds int) (r Report, err error) {
	bin, err := netdBinary()
	if err != nil {
		return r, err
	}
	for _, part := range parts {
		switch part {
		case "convergence":
			var who []receiver
			if who, err = receivers(bin, only); err == nil {
				r.Convergence, err = converge(ctx, who, feeds, rounds)
			}
		case "failover":
			r.Failover, err = failOver(ctx, bin, rounds)
		case "throughput":
			r.Throughput, err = guestThroughput(ctx)
		default:
			err = fmt.Errorf("part %q: expected convergence, failover or throughput", part)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

func allFeeds() []Feed {
	feeds := []Feed{{1, 1, 1}}
	for _, prefixes := range []int{1_000, 10_000, 100_000} {
		for _, per := range []int{1, 50} {
			feeds = append(feeds, Feed{prefixes, per, 1}, Feed{prefixes, per, 10})
		}
	}
	return feeds
}

func quickFeeds() []Feed {
	return []Feed{{1, 1, 1}, {10_000, 1, 1}, {10_000, 50, 1}, {100_000, 50, 1}, {100_000, 50, 10}}
}
