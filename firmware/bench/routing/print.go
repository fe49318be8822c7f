package main

import (
	"fmt"
	"io"
	"slices"

	"netd/firmware/bench/report"
)

func milliseconds(s float64) string { return fmt.Sprintf("%.0f ms", 1000*s) }

// spread is a median, and the least and the greatest.
func spread(of []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", report.Median(of), slices.Min(of), slices.Max(of))
}

func sum[N int | float64](of []N) float64 {
	total := 0.0
	for _, n := range of {
		total += float64(n)
	}
	return total
}

// printConvergence prints a table for each thing that was measured.
func printConvergence(w io.Writer, all []Convergence) {
	if len(all) == 0 {
		return
	}
	for _, thing := range []struct {
		title string
		of    func(Taken) float64
		unit  func(float64) string
	}{
		{"Fill: first UPDATE → last route in the kernel", func(t Taken) float64 { return t.Fill }, milliseconds},
		{"Fill: processor time of all the receiver's processes", func(t Taken) float64 { return sum(t.FillCPU) }, milliseconds},
		{"Withdrawal of all: first UPDATE → last route out of the kernel", func(t Taken) float64 { return t.Clear }, milliseconds},
		{"Withdrawal of all: processor time", func(t Taken) float64 { return sum(t.ClearCPU) }, milliseconds},
		{"Memory: the most of each process together, MiB of RSS", func(t Taken) float64 { return sum(t.PeakKiB) }, func(kib float64) string { return fmt.Sprintf("%.0f", kib/1024) }},
		{"Memory: after the fill, what processes share in equal parts, MiB of PSS", func(t Taken) float64 { return sum(t.FullKiB) }, func(kib float64) string { return fmt.Sprintf("%.0f", kib/1024) }},
	} {
		fmt.Fprintf(w, "\n%s. Medians of %d rounds in turn; ratios are of one round, netd's divided by the other's (least–greatest).\n", thing.title, len(all[0].Rounds))
		t := report.NewTable(w)
		names := all[0].Receivers
		head := slices.Clone(names)
		for _, name := range names[1:] {
			head = append(head, names[0]+"/"+name)
		}
		t.Row("", head...)
		for _, c := range all {
			var cells []string
			for i := range names {
				cells = append(cells, thing.unit(report.Median(report.Each(c.Rounds, func(r []Taken) float64 { return thing.of(r[i]) }))))
			}
			for i := range names[1:] {
				cells = append(cells, spread(report.Each(c.Rounds, func(r []Taken) float64 { return thing.of(r[0]) / thing.of(r[i+1]) })))
			}
			t.Row(c.Feed.String(), cells...)
		}
		t.Flush()
	}
}

// printStages prints where the first receiver's time goes.
func printStages(w io.Writer, all []Convergence) {
	if len(all) == 0 || all[0].Rounds[0][0].Stages == nil {
		return
	}
	fmt.Fprintf(w, `
Where netd's fill goes, medians: CPU of the speaker (GoBGP) and the agent; and by the agent's clock: its rounds, and in these what
reading the speaker takes (it answers then), planning, and applying (the kernel's part included).
`)
	t := report.NewTable(w)
	t.Row("", "speaker", "agent", "rounds", "of it reading", "planning", "applying", "number")
	for _, c := range all {
		of := func(f func(Taken) float64) float64 {
			return report.Median(report.Each(c.Rounds, func(r []Taken) float64 { return f(r[0]) }))
		}
		cells := []string{
			milliseconds(of(func(t Taken) float64 { return t.FillCPU[1] })), milliseconds(of(func(t Taken) float64 { return t.FillCPU[0] })),
		}
		for _, stage := range []string{"seconds", "read_s", "plan_s", "apply_s"} {
			cells = append(cells, milliseconds(of(func(t Taken) float64 { return t.Stages[stage] })))
		}
		t.Row(c.Feed.String(), append(cells, fmt.Sprintf("%.0f", of(func(t Taken) float64 { return t.Stages["rounds"] })))...)
	}
	t.Flush()
}

// printFailover prints what was lost.
func printFailover(w io.Writer, all []Failover) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\nFailover: packets lost at %d a second when the ToR in use fails. Medians of %d rounds in turn (least–greatest).\n", flowRate, len(all[0].Lost))
	t := report.NewTable(w)
	t.Row("", slices.Concat(all[0].Gateways, []string{"netd/BIRD", "netd/FRR"})...)
	for _, f := range all {
		var cells []string
		var medians []float64
		for i := range f.Gateways {
			lost := report.Each(f.Lost, func(row []int) float64 { return float64(row[i]) })
			medians = append(medians, report.Median(lost))
			cells = append(cells, fmt.Sprintf("%.0f (%.0f–%.0f)", medians[i], slices.Min(lost), slices.Max(lost)))
		}
		for _, other := range medians[1:] {
			ratio := "–"
			if other > 0 {
				ratio = report.Times(medians[0] / other)
			}
			cells = append(cells, ratio)
		}
		t.Row(f.Failure, cells...)
	}
	t.Flush()
}

// printThroughput prints encapsulated against native.
func printThroughput(w io.Writer, t *Throughput) {
	if t == nil {
		return
	}
	fmt.Fprintf(w, "\nThroughput of TCP between two pods, by %d rounds in turn: megabits a second, and ratios of one round (least–greatest).\n", len(t.Mbps))
	table := report.NewTable(w)
	table.Row("", "Mbit/s", "of native")
	for i, kind := range t.Kinds {
		rate := report.Median(report.Each(t.Mbps, func(row []float64) float64 { return row[i] }))
		table.Row(kind, fmt.Sprintf("%.0f", rate), spread(report.Each(t.Mbps, func(row []float64) float64 { return row[i] / row[0] })))
	}
	table.Flush()
}
