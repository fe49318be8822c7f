package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"netd/netd/internal/api"
	"netd/netd/layout"
)

// screen keeps what is on the console of a box for who has not logged in: getty shows the
// file before each prompt, and so at each Enter. What changes of the verdict or of an
// address is a line of its own, a bounded number of them.
type screen struct {
	log   *slog.Logger
	view  func(ctx context.Context, after uint64) api.View
	file  string
	words io.Writer // to the consoles, with layout.ToConsole before each line
	about string    // the box: version, board, serial number
}

const (
	// screenPause is between two looks.
	screenPause = time.Second
	// The first linesAtOnce lines come as soon as something changes; later there is one a
	// linePause at most.
	linesAtOnce = 6
	linePause   = time.Minute
	// lineRoom and problemsShown bound what is shown.
	lineRoom      = 160
	problemsShown = 6
)

func newScreen(o Options, view func(context.Context, uint64) api.View) *screen {
	about := "netd " + o.Version
	if board := o.boardName(); board != "" {
		about += "   board " + board
	}
	if serial := Identity(o.Device).Serial; serial != "" {
		about += "   serial number " + serial
	}
	return &screen{log: o.Log, view: view, file: filepath.Join(o.RunDir, filepath.Base(layout.Issue)), words: o.Words, about: about}
}

// run shows until ctx ends.
func (s *screen) run(ctx context.Context) error {
	var shown, told string
	var next time.Time
	lines := 0
	for revision := uint64(0); ; {
		v := s.view(ctx, revision)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		revision = v.Status.Revision
		if text := s.text(v.Status); text != shown {
			if err := replaceFile(s.file, []byte(text), 0o644); err != nil {
				s.log.Error("show on the console", "err", err)
			} else {
				shown = text
			}
		}
		switch now := change(v.Status); {
		case told == "":
			told = now // The screen itself has it.
		case now != told && (lines < linesAtOnce || !time.Now().Before(next)):
			told, next = now, time.Now().Add(linePause)
			lines++
			_, _ = fmt.Fprintf(s.words, "%s%s\n", layout.ToConsole, line(v.Status)) // It never fails.
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(screenPause):
		}
	}
}

// verdict is how the gateway does, in a word, and in numbers.
func verdict(s api.Status) (word, numbers string) {
	word = "GOOD"
	if len(s.Problems) > 0 || s.ConfigProblem != "" || s.Peers.Up < s.Peers.Total || s.Pods.Up < s.Pods.Total {
		word = "DEGRADED"
	}
	link := false
	for _, u := range s.Uplinks {
		link = link || u.Carrier && len(u.Addresses) > 0
		if !u.Carrier || u.Problem != "" {
			word = "DEGRADED"
		}
	}
	if !link || s.Peers.Total > 0 && s.Peers.Up == 0 {
		word = "DOWN"
	}
	return word, fmt.Sprintf("%d of %d peers, %d of %d pods", s.Peers.Up, s.Peers.Total, s.Pods.Up, s.Pods.Total)
}

// change is what a line is worth when it is another.
func change(s api.Status) string {
	word, _ := verdict(s)
	return fmt.Sprint(word, addresses(s))
}

func addresses(s api.Status) []string {
	var all []string
	for _, u := range s.Uplinks {
		words := []string{u.Name}
		for _, a := range u.Addresses {
			words = append(words, a.String())
		}
		if len(u.Addresses) == 0 {
			words = append(words, "without address")
		}
		if !u.Carrier {
			words = append(words, "without carrier")
		}
		all = append(all, strings.Join(words, " "))
	}
	return all
}

// line is the gateway in a line.
func line(s api.Status) string {
	word, numbers := verdict(s)
	text := fmt.Sprintf("netd %s: %s  %s; %s", s.Gateway, word, numbers, strings.Join(addresses(s), ", "))
	if problems := wrong(s); len(problems) > 0 {
		text += "; " + problems[0]
	}
	return plain(text)
}

// wrong is all that is wrong, of the configuration first.
func wrong(s api.Status) []string {
	var all []string
	if s.ConfigProblem != "" {
		all = append(all, "the configuration is not the first choice: "+s.ConfigProblem)
	}
	all = append(all, s.Problems...)
	for _, u := range s.Uplinks {
		if u.Problem != "" {
			all = append(all, u.Name+": "+u.Problem)
		}
	}
	return all
}

// text is the first screen.
func (s *screen) text(st api.Status) string {
	word, numbers := verdict(st)
	rows := []string{"", fmt.Sprintf("%s   %s", st.Gateway, s.about), fmt.Sprintf("%-9s %s", word, numbers)}
	for i, u := range addresses(st) {
		rows = append(rows, fmt.Sprintf("uplink    %s   %s", u, st.Uplinks[i].MAC))
	}
	problems := wrong(st)
	for i, p := range problems {
		if i == problemsShown {
			rows = append(rows, fmt.Sprintf("problem   and %d more: netd status", len(problems)-i))
			break
		}
		rows = append(rows, "problem   "+p)
	}
	rows = append(rows, "config    "+st.ConfigFile)
	if st.NoLogin {
		rows = append(rows, "login     nobody can log in: [management] console-password is not set")
	} else {
		rows = append(rows, "login     as root; then netd status. Enter shows this again")
	}
	return issue(rows)
}

// issue is how getty reads a file that it shows: a backslash and a percent sign are doubled.
func issue(rows []string) string {
	double := strings.NewReplacer(`\`, `\\`, "%", "%%")
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(double.Replace(plain(r)) + "\n")
	}
	return b.String() + "\n"
}

// plain is a line that a terminal shows as it is: problems have words of peers' in them.
func plain(line string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, line))
	if len(runes) > lineRoom {
		return string(runes[:lineRoom-1]) + "…"
	}
	return string(runes)
}
