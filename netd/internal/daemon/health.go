package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netd/netd/layout"
)

// health is what goes wrong: noted step by step in a round, logged when it begins and
// when it is over. The next round tries again.
type health struct {
	log      *slog.Logger
	noted    []string // in this round
	problems []string // of the last whole round
	lasting  []string // those of the box's start, which no round mends
	repairs  repairs
}

// note takes down what a step could not do; nil is that it did all.
func (h *health) note(err error) {
	if err != nil {
		h.noted = append(h.noted, err.Error())
	}
}

// conclude ends a round, and tells whether all went well.
func (h *health) conclude() bool {
	now := h.noted
	h.noted = nil
	for _, p := range now {
		if !slices.Contains(h.problems, p) {
			h.log.Error("problem", "err", p)
		}
	}
	for _, p := range h.problems {
		if !slices.Contains(now, p) {
			h.log.Info("problem is over", "was", p)
		}
	}
	h.problems = now
	return len(now) == 0
}

// started notes what went wrong before the agent: PID 1 leaves these files when it had to
// put /data into memory, or to repair what is on it.
func (h *health) started(runDir string) {
	if reason, err := os.ReadFile(filepath.Join(runDir, filepath.Base(layout.DataFailed))); err == nil {
		h.lasting = append(h.lasting, "nothing survives a reboot: "+strings.TrimSpace(string(reason)))
	}
	if told, err := os.ReadFile(filepath.Join(runDir, filepath.Base(layout.DataRepaired))); err == nil {
		for line := range strings.Lines(string(told)) {
			h.lasting = append(h.lasting, strings.TrimSpace(line))
		}
	}
}
