package main

import (
	"fmt"
	"io"
	"slices"

	"netd/firmware/bench/report"
)

func mebi(octets int64) string { return fmt.Sprintf("%.1f", float64(octets)/(1<<20)) }

func kibi(kib int) string { return mebi(int64(kib) << 10) }

func (r *Report) print(w io.Writer) {
	r.Boot.print(w)
	r.Pods.print(w)
	printMemory(w, r.Idle, r.Ten)
	printImage(w, r.Image)
}

func (b Boot) print(w io.Writer) {
	fmt.Fprintf(w, `
Boot: %.2f  kernel start → first BGP session Established, against the same kernel on the same board → the first word of a
bare busybox init. By the kernel's clock, which begins when the kernel is unpacked; median of %d rounds in turn.
`, report.Median(b.Ratios), len(b.Ratios))
	t := report.NewTable(w)
	t.Row("", "netd", "busybox", "ratio")
	for i, ratio := range b.Ratios {
		t.Row(fmt.Sprintf("round %d", i+1), report.Seconds(b.Netd[i].total()), report.Seconds(b.Bare[i]), report.Times(ratio))
	}
	t.Flush()
	fmt.Fprintf(w, "Where it goes (medians; %% of kernel start → session), and the first boot of a new disk: %.2f of a later one\n", b.First)
	t = report.NewTable(w)
	whole := report.Median(report.Each(b.Netd, Stages.total))
	for _, stage := range []struct {
		name string
		of   func(Stages) float64
	}{
		{"kernel", func(s Stages) float64 { return s.Kernel }},
		{"stage 1", func(s Stages) float64 { return s.Stage1 }},
		{"netd init", func(s Stages) float64 { return s.Init }},
		{"netd run, start to up", func(s Stages) float64 { return s.Run }},
		{"up to session", func(s Stages) float64 { return s.Session }},
		{"before: firmware, selector, unpack", func(s Stages) float64 { return s.Firmware }},
	} {
		took := report.Median(report.Each(b.Netd, stage.of))
		t.Row(stage.name, report.Seconds(took), report.Percent(took, whole))
	}
	t.Flush()
}

func (p Pods) print(w io.Writer) {
	fmt.Fprintf(w, `
Pod start: %.2f  a pod that is asked for → it runs, with address, link, route and announcement in force, against ctr run
--detach of the same image without network, by the same containerd. %.2f if what ctr takes to come up is left out of
ctr's time. Median of %d pairs in turn.
`, report.Median(p.Ratios), report.Median(p.WithoutLoad), len(p.Ratios))
	t := report.NewTable(w)
	t.Row("", "netd", "of it network", "ctr run", "of it ctr's own start", "ratio")
	for i, ratio := range p.Ratios {
		t.Row(fmt.Sprintf("pair %d", i+1), report.Seconds(p.Netd[i]), report.Seconds(p.Network[i]), report.Seconds(p.Ctr[i]), report.Seconds(p.Load[i]), report.Times(ratio))
	}
	t.Flush()
}

func printMemory(w io.Writer, idle, ten Memory) {
	all, with := idle.sum(), ten.sum()
	fmt.Fprintf(w, `
Memory: %.2f  RSS of everything with ten pods, against the idle gateway; %.2f by PSS, where pages that processes share
count once. MiB.
`, float64(with.RSS)/float64(all.RSS), float64(with.PSS)/float64(all.PSS))
	t := report.NewTable(w)
	t.Row("", "idle: number", "RSS", "anonymous", "PSS", "ten pods: number", "RSS", "anonymous", "PSS")
	cells := func(u Usage) []string {
		return []string{fmt.Sprint(u.Processes), kibi(u.RSS), kibi(u.Anon), kibi(u.PSS)}
	}
	for _, u := range append(idle.Roles, all) {
		other := ten.role(u.Role)
		if u.Role == all.Role {
			other = with
		}
		t.Row(u.Role, slices.Concat(cells(u), cells(other))...)
	}
	t.Flush()
	fmt.Fprintf(w, "  In use with the kernel's own: %s idle, %s with ten pods, of %s.\n",
		kibi(idle.Total-idle.Available), kibi(ten.Total-ten.Available), kibi(ten.Total))
}

func printImage(w io.Writer, parts []Part) {
	var raw, packed int64
	for _, p := range parts {
		raw, packed = raw+p.Raw, packed+p.Packed
	}
	fmt.Fprintf(w, `
Image: %.2f  what one slot and the selector hold, packed against unpacked. MiB, and shares of the whole.
`, float64(packed)/float64(raw))
	t := report.NewTable(w)
	t.Row("", "unpacked", "share", "packed", "share", "packed/unpacked")
	for _, p := range append(parts, Part{"all", "", raw, packed}) {
		ratio := ""
		if p.Raw > 0 {
			ratio = report.Times(float64(p.Packed) / float64(p.Raw))
		}
		t.Row(p.Volume+"  "+p.Name, mebi(p.Raw), report.Percent(float64(p.Raw), float64(raw)), mebi(p.Packed), report.Percent(float64(p.Packed), float64(packed)), ratio)
	}
	t.Flush()
}
