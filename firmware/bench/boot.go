package main

import (
	"context"
	"regexp"
	"strconv"
	"time"

	"netd/firmware/bench/report"
)

// Boot is how the gateway came up, round by round. Seconds are by the kernel's
// clock, which begins when the kernel is unpacked.
type Boot struct {
	Netd   []Stages  `json:"netd"`
	Bare   []float64 `json:"busybox"`
	Ratios []float64 `json:"ratios"`
	// First is the first boot of a new disk, against a later one: it grows /data,
	// and the image of the pod is imported.
	First float64 `json:"first_boot_ratio"`
}

// Stages of one boot, in seconds; all but the first add up to the time of the
// first session.
type Stages struct {
	Firmware float64 `json:"firmware"` // power-on to the start of the kernel's clock
	Kernel   float64 `json:"kernel"`
	Stage1   float64 `json:"stage1"`
	Init     float64 `json:"init"`
	Run      float64 `json:"run"`
	Session  float64 `json:"session"`
}

func (s Stages) total() float64 { return s.Kernel + s.Stage1 + s.Init + s.Run + s.Session }

// boots boots in turn: bare, netd, bare, netd… The last gateway stays on.
func (b *bench) boots(ctx context.Context, rounds int) (Boot, error) {
	var t Boot
	first, err := b.netdBoot(ctx)
	if err != nil {
		return t, err
	}
	for range rounds {
		if err := b.gateway.PowerOff(ctx); err != nil {
			return t, err
		}
		bare, err := b.bareBoot(ctx)
		if err != nil {
			return t, err
		}
		netd, err := b.netdBoot(ctx)
		if err != nil {
			return t, err
		}
		t.Bare, t.Netd = append(t.Bare, bare), append(t.Netd, netd)
		t.Ratios = append(t.Ratios, netd.total()/bare)
	}
	t.First = first.total() / report.Median(report.Each(t.Netd, Stages.total))
	return t, nil
}

var stage1Said = regexp.MustCompile(`netd stage1: +(\d+) ms: (kernel's file systems|data)\r?\n`)

// netdBoot switches the gateway on, and leaves it with a shell.
func (b *bench) netdBoot(ctx context.Context) (Stages, error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	var s Stages
	begin := time.Now()
	var err error
	if b.gateway, err = b.start(ctx, "gateway", boardDir, b.file("disk")); err != nil {
		return s, err
	}
	var marks [2]float64
	for i := range marks {
		said, err := b.gateway.Expect(ctx, stage1Said.String())
		if err != nil {
			return s, err
		}
		ms, err := strconv.Atoi(stage1Said.FindStringSubmatch(said)[1])
		if err != nil {
			return s, err
		}
		marks[i] = float64(ms) / 1000
		if i == 0 {
			s.Firmware = time.Since(begin).Seconds() - marks[0]
		}
	}
	// Nobody asks the gateway anything before it is up.
	if err := b.session(ctx); err != nil {
		return s, err
	}
	if err := b.login(ctx); err != nil {
		return s, err
	}
	var t struct{ RunStarts, RunUp, Established float64 }
	if err := b.ask(ctx, &t, "boot"); err != nil {
		return s, err
	}
	s.Kernel, s.Stage1 = marks[0], marks[1]-marks[0]
	s.Init, s.Run, s.Session = t.RunStarts-marks[1], t.RunUp-t.RunStarts, t.Established-t.RunUp
	return s, nil
}
