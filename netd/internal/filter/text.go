package filter

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// Range is the prefixes within one, of some lengths.
type Range struct {
	Prefix   netip.Prefix
	Min, Max int
}

// Exactly is the range of one prefix.
func Exactly(p netip.Prefix) Range { return Range{p, p.Bits(), p.Bits()} }

// Within is a prefix and all that is inside.
func Within(p netip.Prefix) Range { return Range{p, p.Bits(), p.Addr().BitLen()} }

// ParseRange reads "10.0.0.0/8", "10.0.0.0/8 le 24", "10.0.0.0/8 ge 16" or
// "10.0.0.0/8 ge 16 le 24".
func ParseRange(s string) (Range, error) {
	words := strings.Split(s, " ")
	p, err := netip.ParsePrefix(words[0])
	if err != nil {
		return Range{}, errors.New("not a prefix")
	}
	if p != p.Masked() {
		return Range{}, errors.New("bits set after the prefix length")
	}
	r := Exactly(p)
	switch words = words[1:]; {
	case len(words) == 0:
		return r, nil
	case len(words) == 2 && words[0] == "ge":
		r.Max = p.Addr().BitLen()
		r.Min, err = parseLength(words[1])
	case len(words) == 2 && words[0] == "le":
		r.Max, err = parseLength(words[1])
	case len(words) == 4 && words[0] == "ge" && words[2] == "le":
		r.Min, err = parseLength(words[1])
		if err == nil {
			r.Max, err = parseLength(words[3])
		}
	default:
		err = errors.New("not of the form PREFIX [ge N] [le N]")
	}
	if err == nil && (r.Min < p.Bits() || r.Max < r.Min || r.Max > p.Addr().BitLen()) {
		err = fmt.Errorf("lengths that are not %d <= ge <= le <= %d", p.Bits(), p.Addr().BitLen())
	}
	if err != nil {
		return Range{}, err
	}
	return r, nil
}

func parseLength(s string) (int, error) {
	n, err := parseNumber(s, 128)
	return int(n), err
}

// parseNumber takes a number as it is printed, and nothing else.
func parseNumber(s string, most uint64) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > most || s != strconv.FormatUint(n, 10) {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, most)
	}
	return uint32(n), nil
}

// String returns the range as ParseRange reads it.
func (r Range) String() string {
	s, bits := r.Prefix.String(), r.Prefix.Addr().BitLen()
	if r.Min == r.Max && r.Min == r.Prefix.Bits() {
		return s
	}
	if r.Min > r.Prefix.Bits() {
		s += fmt.Sprintf(" ge %d", r.Min)
	}
	if r.Max < bits || r.Min == r.Prefix.Bits() {
		s += fmt.Sprintf(" le %d", r.Max)
	}
	return s
}

// Matches tells whether a prefix is of the range.
func (r Range) Matches(p netip.Prefix) bool {
	return r.Prefix.Contains(p.Addr()) && r.Min <= p.Bits() && p.Bits() <= r.Max
}

// and returns the prefixes of both ranges; ok is false if there are none.
func (r Range) and(o Range) (both Range, ok bool) {
	if !r.Prefix.Overlaps(o.Prefix) {
		return Range{}, false
	}
	both = Range{r.Prefix, max(r.Min, o.Min), min(r.Max, o.Max)}
	if o.Prefix.Bits() > r.Prefix.Bits() {
		both.Prefix = o.Prefix
	}
	return both, both.Min <= both.Max
}

// Pattern is one community, or many: "65000:1", "65000:*", "65000:*:1".
type Pattern []Part

// Part of a Pattern is a number, or any.
type Part struct {
	Value uint32
	Any   bool
}

// named is a community that has a name.
type named struct {
	name      string
	community Community
}

// wellKnown are those of RFC 1997, RFC 3765, RFC 7999 and RFC 8326.
func wellKnown() []named {
	return []named{
		{"graceful-shutdown", GracefulShutdown},
		{"blackhole", 0xffff029a},
		{"no-export", 0xffffff01},
		{"no-advertise", 0xffffff02},
		{"no-export-subconfed", 0xffffff03},
		{"no-peer", 0xffffff04},
	}
}

// ParseCommunity reads "65000:1" or a name; patterns may have "*" for a number.
func ParseCommunity(s string, patterns bool) (Pattern, error) {
	for _, w := range wellKnown() {
		if w.name == s {
			return w.community.Pattern(), nil
		}
	}
	return parsePattern(s, 2, math.MaxUint16, patterns)
}

// ParseLarge reads "65000:1:2"; patterns may have "*" for a number.
func ParseLarge(s string, patterns bool) (Pattern, error) {
	return parsePattern(s, 3, math.MaxUint32, patterns)
}

func parsePattern(s string, parts int, most uint64, patterns bool) (Pattern, error) {
	words := strings.Split(s, ":")
	if len(words) != parts {
		return nil, fmt.Errorf("not %d numbers with colons between them", parts)
	}
	var p Pattern
	for _, w := range words {
		if w == "*" && patterns {
			p = append(p, Part{Any: true})
			continue
		}
		n, err := parseNumber(w, most)
		if err != nil {
			return nil, err
		}
		p = append(p, Part{Value: n})
	}
	return p, nil
}

// String returns the pattern as it is read.
func (p Pattern) String() string {
	if c, ok := p.community(); ok {
		return c.String()
	}
	return p.Numbers()
}

// Numbers returns the pattern without names.
func (p Pattern) Numbers() string {
	words := make([]string, len(p))
	for i, part := range p {
		if words[i] = "*"; !part.Any {
			words[i] = strconv.FormatUint(uint64(part.Value), 10)
		}
	}
	return strings.Join(words, ":")
}

// Regexp matches the text of the communities that the pattern does.
func (p Pattern) Regexp() string {
	return "^" + strings.ReplaceAll(p.Numbers(), "*", `\d+`) + "$"
}

// community is the one that the pattern is, if it is one of two numbers.
func (p Pattern) community() (Community, bool) {
	if len(p) != 2 || p[0].Any || p[1].Any {
		return 0, false
	}
	return Community(p[0].Value<<16 | p[1].Value), true
}

func (p Pattern) matches(numbers ...uint32) bool {
	for i, part := range p {
		if !part.Any && part.Value != numbers[i] {
			return false
		}
	}
	return true
}

// Pattern returns the pattern of this community alone.
func (c Community) Pattern() Pattern {
	return Pattern{{Value: uint32(c >> 16)}, {Value: uint32(c & 0xffff)}}
}

// String returns the community's name if it has one, else its numbers.
func (c Community) String() string {
	for _, w := range wellKnown() {
		if w.community == c {
			return w.name
		}
	}
	return c.Pattern().Numbers()
}

// Pattern returns the pattern of this community alone.
func (c LargeCommunity) Pattern() Pattern {
	return Pattern{{Value: c[0]}, {Value: c[1]}, {Value: c[2]}}
}

// String returns the community's numbers.
func (c LargeCommunity) String() string { return c.Pattern().Numbers() }

// ASPattern is a form of AS paths: "65001 * 65103".
type ASPattern []ASToken

// ASToken is an AS number, or one of the wild cards.
type ASToken struct {
	AS   uint32 // 0: any one
	Many bool   // any number of them, also none
}

// maxASTokens bounds a pattern, and so its cost.
const maxASTokens = 32

// ParseASPattern reads AS numbers, "?" for any one and "*" for any number of them,
// with single spaces between; "" is the empty path.
func ParseASPattern(s string) (ASPattern, error) {
	p := ASPattern{}
	if s == "" {
		return p, nil
	}
	words := strings.Split(s, " ")
	if len(words) > maxASTokens {
		return nil, fmt.Errorf("more than %d words", maxASTokens)
	}
	for _, w := range words {
		switch w {
		case "?":
			p = append(p, ASToken{})
		case "*":
			if n := len(p); n > 0 && p[n-1].Many {
				return nil, errors.New(`"* *" is "*"`)
			}
			p = append(p, ASToken{Many: true})
		default:
			n, err := parseNumber(w, math.MaxUint32)
			if err != nil {
				return nil, err
			}
			if n == 0 {
				return nil, errors.New("AS 0 is in no path (RFC 7607)")
			}
			p = append(p, ASToken{AS: n})
		}
	}
	return p, nil
}

// String returns the pattern as ParseASPattern reads it.
func (p ASPattern) String() string {
	words := make([]string, len(p))
	for i, t := range p {
		switch {
		case t.Many:
			words[i] = "*"
		case t.AS == 0:
			words[i] = "?"
		default:
			words[i] = strconv.FormatUint(uint64(t.AS), 10)
		}
	}
	return strings.Join(words, " ")
}

// anyAS matches one AS of a path's text and what is between it and the next.
const anyAS = `(?:\d+(?: |$))`

// Regexp matches the text of the AS paths that the pattern does: numbers with
// single spaces between.
func (p ASPattern) Regexp() string {
	var b strings.Builder
	b.WriteByte('^')
	for _, t := range p {
		switch {
		case t.Many:
			b.WriteString(anyAS + "*")
		case t.AS == 0:
			b.WriteString(anyAS)
		default:
			fmt.Fprintf(&b, "(?:%d(?: |$))", t.AS)
		}
	}
	b.WriteByte('$')
	return b.String()
}

// LengthRegexp matches the text of the AS paths of some lengths; most 0 is no bound.
func LengthRegexp(least, most int) string {
	if most == 0 {
		return fmt.Sprintf("^%s{%d,}$", anyAS, least)
	}
	return fmt.Sprintf("^%s{%d,%d}$", anyAS, least, most)
}

// LoopRegexp matches the text of the AS paths that have an AS more often than so.
func LoopRegexp(as uint32, times int) string {
	return fmt.Sprintf("^(?:%s*(?:%d(?: |$))){%d}", anyAS, as, times+1)
}

// matches tells whether the path is of the pattern's form.
func (p ASPattern) matches(path []uint32) bool {
	// at[i]: the path so far matches the first i words.
	at := make([]bool, len(p)+1)
	at[0] = true
	p.skip(at)
	for _, as := range path {
		next := make([]bool, len(p)+1)
		for i, t := range p {
			if !at[i] {
				continue
			}
			if t.Many {
				next[i] = true
			} else if t.AS == 0 || t.AS == as {
				next[i+1] = true
			}
		}
		at = next
		p.skip(at)
	}
	return at[len(p)]
}

// skip lets each "*" stand for nothing.
func (p ASPattern) skip(at []bool) {
	for i, t := range p {
		if at[i] && t.Many {
			at[i+1] = true
		}
	}
}

// String tells what is changed, in the configuration's words.
func (s Set) String() string {
	var words []string
	if s.LocalPref != nil {
		words = append(words, fmt.Sprintf("local-preference %d", *s.LocalPref))
	}
	if s.MED != nil {
		words = append(words, fmt.Sprintf("med %d", *s.MED))
	}
	for _, c := range []struct {
		what string
		Change
	}{{"communities", s.Communities}, {"large-communities", s.Large}} {
		if c.Op != Keep {
			verb := [...]string{"", "add-", "remove-", "set-"}[c.Op]
			words = append(words, verb+c.what+" "+join(c.List))
		}
	}
	if s.Prepend > 0 {
		words = append(words, fmt.Sprintf("prepend %d", s.Prepend))
	}
	return strings.Join(words, ", ")
}

func join(list []Pattern) string {
	if len(list) == 0 {
		return "(none)"
	}
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.String()
	}
	return strings.Join(words, " ")
}
