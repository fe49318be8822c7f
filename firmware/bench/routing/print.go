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

func sum(of []int) float64 {
	total := 0
	for _, n := range of {
		total += n
	}
	return float64(total)
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
		{"Fill: processor time of all the receiver's processes", func(t Taken) float64 { return t.FillCPU }, milliseconds},
		{"Withdrawal of all: first UPDATE → last route out of the kernel", func(t Taken) float64 { return t.Clear }, milliseconds},
		{"Withdrawal of all: processor time", func(t Taken) float64 { return t.ClearCPU }, milliseconds},
		{"Memory: the most of each process together, MiB of RSS", func(t Taken) float64 { return sum(t.PeakKiB) }, func(kib float64) string { return fmt.Sprintf("%.0f", kib/1024) }},
	} {
		fmt.Fprintf(w, "\n%s. Medians of %d rounds in turn; ratios are of one round, netd's divided by the other's (least–greatest).\n", thing.title, len(all[0].Rounds))
		t := report.NewTable(w)
		var head []string
		names := all[0].Receivers
		for _, name := range names {
			head = append(head, name)
		}
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
