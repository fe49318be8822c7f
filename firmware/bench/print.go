package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// median of at least one number.
func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func each[T any](of []T, f func(T) float64) []float64 {
	var all []float64
	for _, v := range of {
		all = append(all, f(v))
	}
	return all
}

// table writes aligned columns; the first is text, the others are numbers.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)}
}

// row begins with a column that is aligned to the left by hand.
func (t table) row(first string, rest ...string) {
	fmt.Fprintf(t.w, "  %-36s", first)
	for _, cell := range rest {
		fmt.Fprintf(t.w, "\t%s", cell)
	}
	fmt.Fprint(t.w, "\t\n")
}

func (t table) flush() { _ = t.w.Flush() }

func seconds(s float64) string { return fmt.Sprintf("%.2f s", s) }

func times(r float64) string { return fmt.Sprintf("%.2f", r) }

func percent(part, whole float64) string { return fmt.Sprintf("%.1f %%", 100*part/whole) }

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
`, median(b.Ratios), len(b.Ratios))
	t := newTable(w)
	t.row("", "netd", "busybox", "ratio")
	for i, ratio := range b.Ratios {
		t.row(fmt.Sprintf("round %d", i+1), seconds(b.Netd[i].total()), seconds(b.Bare[i]), times(ratio))
	}
	t.flush()
	fmt.Fprintf(w, "Where it goes (medians; %% of kernel start → session), and the first boot of a new disk: %.2f of a later one\n", b.First)
	t = newTable(w)
	whole := median(each(b.Netd, Stages.total))
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
		took := median(each(b.Netd, stage.of))
		t.row(stage.name, seconds(took), percent(took, whole))
	}
	t.flush()
}

func (p Pods) print(w io.Writer) {
	fmt.Fprintf(w, `
Pod start: %.2f  a pod that is asked for → it runs, with address, link, route and announcement in force, against ctr run
--detach of the same image without network, by the same containerd. %.2f if what ctr takes to come up is left out of
ctr's time. Median of %d pairs in turn.
`, median(p.Ratios), median(p.WithoutLoad), len(p.Ratios))
	t := newTable(w)
	t.row("", "netd", "of it network", "ctr run", "of it ctr's own start", "ratio")
	for i, ratio := range p.Ratios {
		t.row(fmt.Sprintf("pair %d", i+1), seconds(p.Netd[i]), seconds(p.Network[i]), seconds(p.Ctr[i]), seconds(p.Load[i]), times(ratio))
	}
	t.flush()
}

func printMemory(w io.Writer, idle, ten Memory) {
	all, with := idle.sum(), ten.sum()
	fmt.Fprintf(w, `
Memory: %.2f  RSS of everything with ten pods, against the idle gateway; %.2f by PSS, where pages that processes share
count once. MiB.
`, float64(with.RSS)/float64(all.RSS), float64(with.PSS)/float64(all.PSS))
	t := newTable(w)
	t.row("", "idle: number", "RSS", "anonymous", "PSS", "ten pods: number", "RSS", "anonymous", "PSS")
	cells := func(u Usage) []string {
		return []string{fmt.Sprint(u.Processes), kibi(u.RSS), kibi(u.Anon), kibi(u.PSS)}
	}
	for _, u := range append(idle.Roles, all) {
		other := ten.role(u.Role)
		if u.Role == all.Role {
			other = with
		}
		t.row(u.Role, slices.Concat(cells(u), cells(other))...)
	}
	t.flush()
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
	t := newTable(w)
	t.row("", "unpacked", "share", "packed", "share", "packed/unpacked")
	for _, p := range append(parts, Part{"all", "", raw, packed}) {
		ratio := ""
		if p.Raw > 0 {
			ratio = times(float64(p.Packed) / float64(p.Raw))
		}
		t.row(p.Volume+"  "+p.Name, mebi(p.Raw), percent(float64(p.Raw), float64(raw)), mebi(p.Packed), percent(float64(p.Packed), float64(packed)), ratio)
	}
	t.flush()
}
