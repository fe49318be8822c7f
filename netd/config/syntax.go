package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// The library ends at the first syntax error. So that a person sees all of them at once,
// the line of an error is blanked, if it is a whole one by itself, and the rest is read
// again: of that only what is wrong by itself is reported, since what is missing may be
// in the line.

// maxSyntaxErrors is how many are looked for.
const maxSyntaxErrors = 10

// notLookedAt ends the last error of a file that was not read to its end.
const notLookedAt = "; what follows was not looked at"

// decode returns the file as a tree. With errors it is what could be read, or nil.
func (p *parsed) decode() (*node, []problem) {
	if at := notUTF8(p.text.data); at >= 0 {
		return nil, []problem{{at: at, key: "file", value: "not TOML", text: notText(p.text.data)}}
	}
	work := p.text.data
	spans, beyond := scan(work)
	if beyond != nil {
		return nil, []problem{*beyond}
	}
	var problems []problem
	for {
		var values map[string]any
		_, err := toml.Decode(string(work), &values)
		if err == nil {
			return newNode(values, spans, "", p.text, nil), problems
		}
		var syntax toml.ParseError
		if !errors.As(err, &syntax) {
			return nil, append(problems, problem{key: "file", value: "not TOML", text: err.Error()})
		}
		m := p.mistake(work, syntax)
		if n := len(problems); n > 0 && problems[n-1] == m.problem { // not where it is said to be
			problems[n-1].text += notLookedAt
			return nil, problems
		}
		problems = append(problems, m.problem)
		if m.blank == nil || len(problems) == maxSyntaxErrors {
			problems[len(problems)-1].text += notLookedAt
			return nil, problems
		}
		work = slices.Clone(work)
		for i := m.blank[0]; i < m.blank[1]; i++ {
			if work[i] != '\n' {
				work[i] = ' '
			}
		}
		spans, _ = scan(work)
	}
}

// notUTF8 returns where data stops being text, or -1. The library passes over byte
// order marks, of UTF-16 too, and then counts from there.
func notUTF8(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 || r == '\ufeff' && at == 0 {
			return at
		}
		at += size
	}
	return -1
}

// notText says what is expected of what is not UTF-8.
func notText(data []byte) string {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return "this is UTF-16: expected text in UTF-8"
	}
	return "expected text in UTF-8"
}

// mistake is a syntax error, and from where to where it reaches, if the rest can be read
// without that.
type mistake struct {
	problem
	blank []int
}

// mistake words the library's error.
func (p *parsed) mistake(data []byte, e toml.ParseError) mistake {
	at := min(max(e.Position.Start, 0), len(data))
	begin := bytes.LastIndexByte(data[:at], '\n') + 1
	end := len(data)
	if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
		end = at + i
	}
	m := mistake{problem: problem{at: at, key: "file", value: "not TOML"}}
	if e.LastKey != "" {
		m.key = labelled(data[:begin], e.LastKey)
	}
	line := string(data[begin:end])
	text := strings.TrimSuffix(strings.Join(strings.Fields(e.Message), " "), ".")
	if whole(data, begin, end) {
		m.blank = []int{begin, end}
	}
	if text == "strings cannot contain newlines" {
		m.blank = nil // What stands in the next lines may be its end.
	}
	switch opened := opening(data[:begin]); {
	case strings.HasPrefix(text, "Key '"):
		p.again(&m, data, begin, text)
	case strings.HasPrefix(text, "expected a comma (',') or array terminator") && len(opened) > 0 && (isPair(line) || strings.HasPrefix(strings.TrimSpace(line), "[")):
		m.at = opened[len(opened)-1]
		line, _ := p.text.place(at)
		m.text = fmt.Sprintf(`this array is not closed: expected "]" before line %d`, line)
	case conflicted(line):
		m.text = "git has left a conflict here: expected one of the two versions, without these lines"
		if i := bytes.Index(data[end:], []byte("\n>>>>>>>")); i >= 0 {
			m.blank = []int{begin, end + i + 1 + len(firstLine(data[end+i+1:]))}
		}
	case strings.HasSuffix(m.key, "password"):
		m.text = "expected a string in quotes" // It may be the password itself, by mistake.
	default:
		m.text = syntaxText(text, string(data[at:end]), line)
	}
	return m
}

// again words a key or a table that is there for the second time.
func (p *parsed) again(m *mistake, data []byte, begin int, text string) {
	spans, _ := scan(data[:begin])
	key := strings.Split(strings.TrimPrefix(strings.SplitN(text, "'", 3)[1], "'"), ".")
	before := find(spans, key)
	header := strings.HasPrefix(strings.TrimSpace(firstLine(data[begin:])), "[")
	first := 0
	if before != nil {
		first, _ = p.text.place(before.key)
	}
	switch {
	case header:
		m.at, m.blank = begin+len(data[begin:])-len(bytes.TrimLeft(data[begin:], " \t")), nil
		m.key, m.value = "["+strings.Join(key, ".")+"]", "given twice"
	case before != nil:
		m.key, m.value = labelled(data[:begin], strings.Join(key, ".")), "given twice"
	}
	switch {
	case before == nil:
		m.text = text + ": expected each key and [table] once"
	case strings.Contains(text, "cannot be used as an array"):
		m.text = fmt.Sprintf("there as one table before, in line %d: expected [[%s]], with two brackets, in both places", first, strings.Join(key, "."))
	case header:
		m.text = fmt.Sprintf("given before in line %d: expected each table once; move these keys there", first)
	default:
		m.text = fmt.Sprintf("given before in line %d: expected each key once", first)
	}
}

// find returns the span of a key in the last elements of the arrays that it is in.
func find(s *span, key []string) *span {
	for i, k := range key {
		if i > 0 {
			s = s.last()
		}
		if s = s.table[k]; s == nil {
			return nil
		}
	}
	return s
}

// labelled names the elements of arrays in a key, as errors call them, by what stands
// before it.
func labelled(before []byte, key string) string {
	s, _ := scan(before)
	var path strings.Builder
	for i, k := range strings.Split(key, ".") {
		if i > 0 {
			path.WriteByte('.')
		}
		path.WriteString(k)
		if s = s.table[k]; s == nil {
			s = &span{}
		}
		if n := len(s.list); n > 0 && s.list[n-1].table != nil {
			s = s.list[n-1]
			element := map[string]any{}
			if name := s.table["name"]; name != nil {
				element["name"] = strings.Trim(string(before[name.val:name.end]), `"'`)
			}
			fmt.Fprintf(&path, "[%s]", label(element, n-1))
		}
	}
	return path.String()
}

// opening has the offsets of the brackets that are not closed at the end of a text.
func opening(data []byte) []int {
	s := &scanner{data: data}
	var open []int
	value := false // after an equals sign: what is in brackets before is a header
	for s.pos < len(data) {
		switch c := data[s.pos]; {
		case c == '#':
			s.until("\n")
			continue
		case c == '\n' && len(open) == 0:
			value = false
		case c == '=':
			value = true
		case c == '"' || c == '\'':
			s.quoted()
			continue
		case value && (c == '[' || c == '{'):
			open = append(open, s.pos)
		case value && (c == ']' || c == '}') && len(open) > 0:
			open = open[:len(open)-1]
		}
		s.pos++
	}
	return open
}

// whole tells whether a line can be taken away without a trace: it is a key and its value,
// or no TOML at all, within nothing that goes over several lines.
func whole(data []byte, begin, end int) bool {
	line := data[begin:end]
	trimmed := strings.TrimSpace(string(line))
	switch {
	case trimmed == "", strings.HasPrefix(trimmed, "["), strings.Contains(trimmed, `"""`), strings.Contains(trimmed, "'''"):
		return false
	case !isPair(trimmed) && strings.HasSuffix(trimmed, "{"):
		return false
	}
	return len(opening(data[:begin])) == 0 && len(opening(line)) == 0
}

// isPair tells whether a line begins with a key and an equals sign.
func isPair(line string) bool {
	return regexp.MustCompile(`^\s*("[^"]*"|'[^']*'|[\w-]+)(\s*\.\s*("[^"]*"|'[^']*'|[\w-]+))*\s*=`).MatchString(line)
}

func conflicted(line string) bool {
	return strings.HasPrefix(line, "<<<<<<<") || strings.HasPrefix(line, "=======") || strings.HasPrefix(line, ">>>>>>>")
}

func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}

// syntaxText says what is usually meant by the most usual mistakes, and else what the
// library says. rest is what stands from the mistake on in its line.
func syntaxText(message, rest, line string) string {
	word := ""
	if fields := strings.Fields(rest); len(fields) > 0 {
		word = fields[0]
	}
	first, _ := utf8.DecodeRuneInString(rest)
	switch {
	case strings.HasPrefix(rest, "$"), strings.Contains(line, "{{"), strings.Contains(line, "{%"):
		return "a variable that nobody has filled in: expected its value"
	case strings.ContainsRune("“”„«»‘’", first):
		return `a typographic quote: expected a plain one, as in "text"`
	case first > unicode.MaxASCII && (unicode.IsSpace(first) || unicode.In(first, unicode.Cf)):
		return fmt.Sprintf("a character that looks like a space or like nothing (U+%04X): expected a plain space", first)
	case strings.HasPrefix(message, "expected '.' or '='"):
		return keyText(message, line)
	case strings.HasPrefix(message, "expected a top-level item to end"):
		for _, comment := range []string{"//", "/*", ";", "--", "!"} {
			if strings.HasPrefix(rest, comment) && strings.TrimSpace(strings.TrimLeft(rest, comment)) != "" {
				return fmt.Sprintf(`%q begins no comment: expected "#"`, comment)
			}
		}
		if first == ',' || first == ';' {
			return fmt.Sprintf("%q after a value: expected the end of the line", string(first))
		}
		return message
	case strings.HasPrefix(message, "expected value but found"), strings.HasPrefix(message, "Invalid float value"):
		return valueText(message, word)
	case message == "strings cannot contain newlines":
		return message + ": expected a closing quote on the same line"
	}
	return message
}

// keyText is for a line that does not begin with a key and an equals sign.
func keyText(message, line string) string {
	trimmed := strings.TrimSpace(line)
	for _, comment := range []string{"//", "/*", ";", "--", "!"} {
		if strings.HasPrefix(trimmed, comment) {
			return fmt.Sprintf(`%q begins no comment: expected "#"`, comment)
		}
	}
	name := regexp.MustCompile(`^[\w.-]+`).FindString(trimmed)
	after := strings.TrimSpace(strings.TrimPrefix(trimmed, name))
	switch {
	case name == "":
		return message
	case after == "{":
		return fmt.Sprintf("a table is [%s] and the lines after it, not %s { … }", name, name)
	case strings.HasPrefix(after, ":"):
		return fmt.Sprintf(`expected "=" in place of ":", as in %s = …`, name)
	}
	return message + ": expected a line of the form key = value"
}

// valueText is for a word that is no value.
func valueText(message, word string) string {
	plain := strings.TrimRight(word, ",;]}")
	switch strings.ToLower(plain) {
	case "true", "yes", "on", "enable", "enabled":
		return fmt.Sprintf("%q is no value: expected true or false, in small letters, e.g. true", plain)
	case "false", "no", "off", "disable", "disabled":
		return fmt.Sprintf("%q is no value: expected true or false, in small letters, e.g. false", plain)
	case "null", "nil", "none", "~", "undefined":
		return fmt.Sprintf("%q is no value: expected one, or no such line, which means none", plain)
	case "":
		return "no value: expected one after the equals sign"
	}
	if strings.ContainsAny(word, "\"'[]{},#") {
		return message
	}
	return fmt.Sprintf("%s: expected a string in quotes, e.g. %s", message, quote(word))
}
