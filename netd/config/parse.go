package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxSize is far above any real file, and keeps a wrong one (an image, a log) from
	// being read as TOML.
	maxSize = 1 << 20
	// maxDepth is of tables and arrays in each other; a file has 6. With 8000, which are
	// 32 KB, the library takes 8 s and 3 GB.
	maxDepth = 32
	// maxValues is more than a file of maxSize has that is written line by line. Each costs
	// a kilobyte.
	maxValues = 150_000
)

// Device is what one box of a file gets.
type Device struct {
	// Label is what errors call the [[device]]: its match's name, serial or MAC
	// address, or #1, #2, …. It is empty for the common part of a file, which is what
	// a box gets that no [[device]] matches.
	Label    string
	Config   *Config
	Warnings []Warning
}

// Parse returns the Config of the box that id describes: that of the one [[device]]
// which matches it, or that of the common part if none does and the common part is
// complete. The file must be right for every device, and file is what errors call
// it. The error is of type Errors.
func Parse(file string, data []byte, id Identity) (*Config, []Warning, error) {
	p, errs := parse(file, data)
	if errs != nil {
		return nil, nil, errs
	}
	d, errs := p.find(id)
	if errs != nil {
		return nil, nil, errs
	}
	return d.Config, d.Warnings, nil
}

// ParseAll returns the Config of every box of a file: of the common part, if it is
// complete, and of each [[device]], in the file's order. The error is of type
// Errors.
func ParseAll(file string, data []byte) ([]Device, error) {
	p, errs := parse(file, data)
	if errs != nil {
		return nil, errs
	}
	return p.results, nil
}

// parsed is a good file.
type parsed struct {
	text    *text
	devices []device
	missing []string // what the common part lacks
	results []Device // of the common part if missing is empty, then of the devices
	known   map[string]about
}

func parse(file string, data []byte) (*parsed, Errors) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	p := &parsed{text: newText(file, data), known: make(map[string]about)}
	if len(data) > maxSize {
		return nil, tooLarge(file, int64(len(data)))
	}
	root, mistakes := p.decode()
	if mistakes != nil || root.table["schema"] == nil {
		if errs := p.foreignError(root); errs != nil {
			return nil, errs
		}
	}
	if root == nil {
		return nil, p.errors(mistakes)
	}
	if errs := p.otherSchema(root); errs != nil {
		return nil, errs
	}
	r := &reader{known: p.known}
	p.devices = r.readDevices(root)

	common := *root
	common.table = make(map[string]*node)
	for k, n := range root.table {
		if k != "device" {
			common.table[k] = n
		}
	}
	base := newPass("", &common, val[string]{}, p.known)
	p.missing = base.missing
	var passes []pass
	for _, d := range p.devices {
		if !d.again {
			passes = append(passes, newPass(d.label, d.over(&common), d.name, p.known))
		}
	}
	checkFleet(passes)
	if root.table["device"] != nil && len(p.missing) > 0 {
		// Only the devices make it complete: judge it by itself no further than values.
		base.problems = slices.DeleteFunc(base.problems, func(q problem) bool { return q.class != isBad })
	}
	passes = append([]pass{base}, passes...)
	if mistakes != nil {
		for i := range passes {
			passes[i].problems = slices.DeleteFunc(passes[i].problems, func(q problem) bool { return q.class != isBad })
		}
		r.problems = append(slices.DeleteFunc(r.problems, func(q problem) bool { return q.class != isBad }), mistakes...)
	}
	errs, warnings := report(p.text, r.problems, passes, len(p.devices))
	if len(errs) > 0 {
		return nil, errs
	}
	for i, pass := range passes {
		if i > 0 || len(p.missing) == 0 {
			p.results = append(p.results, Device{pass.label, pass.raw.config(), warnings[pass.label]})
		}
	}
	return p, nil
}

// errors are problems in the order of the file.
func (p *parsed) errors(problems []problem) Errors {
	sortProblems(problems)
	errs := make(Errors, len(problems))
	for i, q := range problems {
		errs[i] = p.text.error(q)
	}
	return errs
}

// otherSchema reports a file of another format, and nothing else about it.
func (p *parsed) otherSchema(root *node) Errors {
	n := root.table["schema"]
	if n == nil || n.value == int64(Schema) {
		return nil
	}
	r := &reader{known: map[string]about{}}
	schemaKey(&table{r: r, n: root})
	return Errors{p.text.error(r.problems[0])}
}

// find returns what the box that id describes gets.
func (p *parsed) find(id Identity) (Device, Errors) {
	var matching []int
	for i, d := range p.devices {
		if d.matches(id) {
			matching = append(matching, i)
		}
	}
	fail := func(n *node, text string) (Device, Errors) {
		return Device{}, Errors{p.text.error(problem{at: n.at, key: n.path, value: id.String(), text: text})}
	}
	switch {
	case len(matching) > 1:
		first, second := p.devices[matching[0]], p.devices[matching[1]]
		return fail(second.match, fmt.Sprintf("this box is also matched by %s: expected one [[device]] for a box", first.match))
	case len(matching) == 1:
		return p.results[len(p.results)-len(p.devices)+matching[0]], nil
	case len(p.missing) == 0:
		return p.common(id), nil
	}
	return fail(&node{path: "device", at: p.devices[0].n.at}, fmt.Sprintf(
		"no [[device]] matches this box, and without one %s: expected a box with one of %s",
		missingText(p.missing), matchesText(p.devices)))
}

// common is what a box gets that no [[device]] matches. One that has a name is probably
// misspelt, there or here.
func (p *parsed) common(id Identity) Device {
	d := p.results[0]
	if id.Name != "" && slices.ContainsFunc(p.devices, func(d device) bool { return d.name.ok }) {
		w := p.text.error(problem{at: p.devices[0].n.at, key: "device", value: id.String(), text: fmt.Sprintf(
			"no [[device]] matches this box, which gets the common part; expected one of %s, unless that is what you want", matchesText(p.devices))})
		d.Warnings = append(slices.Clone(d.Warnings), Warning{w})
	}
	return d
}

func missingText(keys []string) string {
	if len(keys) == 1 {
		return keys[0] + " is missing"
	}
	return strings.Join(keys, ", ") + " are missing"
}

func matchesText(ds []device) string {
	const most = 10
	var ms []string
	for i, d := range ds {
		if i == most {
			ms = append(ms, fmt.Sprintf("%d more", len(ds)-most))
			break
		}
		ms = append(ms, d.String())
	}
	return strings.Join(ms, ", ")
}

// String returns what is known of a box, for errors.
func (id Identity) String() string {
	or := func(s string) string {
		if s == "" {
			return "unknown"
		}
		return quote(s)
	}
	macs := make([]string, len(id.MACs))
	for i, mac := range id.MACs {
		macs[i] = mac.String()
	}
	return fmt.Sprintf("box with name %s, serial %s, mac %s", or(id.Name), or(id.Serial), or(strings.Join(macs, " ")))
}
