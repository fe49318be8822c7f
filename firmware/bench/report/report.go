// Package report is what the benchmarks print with: medians and tables.
package report

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Median of at least one number.
func Median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Each applies f to all.
func Each[T any](of []T, f func(T) float64) []float64 {
	var all []float64
	for _, v := range of {
		all = append(all, f(v))
	}
	return all
}

// Table writes aligned columns; the first is text, the others are numbers.
type Table struct{ w *tabwriter.Writer }

// NewTable begins a table.
func NewTable(w io.Writer) Table {
	return Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)}
}

// Row begins with a column that is aligned to the left by hand.
func (t Table) Row(first string, rest ...string) {
	fmt.Fprintf(t.w, "  %-36s", first)
	for _, cell := range rest {
		fmt.Fprintf(t.w, "\t%s", cell)
	}
	fmt.Fprint(t.w, "\t\n")
}

// Flush prints the table.
func (t Table) Flush() { _ = t.w.Flush() }

// Seconds is a time.
func Seconds(s float64) string { return fmt.Sprintf("%.2f s", s) }

// Times is a ratio.
func Times(r float64) string { return fmt.Sprintf("%.2f", r) }

// Percent is a share.
func Percent(part, whole float64) string { return fmt.Sprintf("%.1f %%", 100*part/whole) }
