package hooks

import (
	"errors"
	"fmt"
	"strings"
)

// MaxEnvironmentFile is the largest environment file that is read, in bytes.
const MaxEnvironmentFile = 1 << 20

// ParseEnvironment reads the lines of an environment file, in the usual form of such files, and gives them as
// NAME=value, in their order:
//
//	# a comment
//	NAME=value            blanks at the end are dropped, and what follows " #"
//	export NAME=value     the same
//	NAME="a \"b\"\n"      with the escapes \" \\ \n \r \t \$
//	NAME='as it is'       without any
//
// Values are one line each. An error names the line, and never shows what is in it.
func ParseEnvironment(text string) ([]string, error) {
	var vars []string
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "export"); ok && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
			line = strings.TrimSpace(rest)
		}
		name, raw, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || !validName(name) {
			return nil, fmt.Errorf("line %d is not of the form NAME=value", n)
		}
		value, err := unquote(strings.TrimSpace(raw))
		if err != nil {
			return nil, fmt.Errorf("line %d: the value of %s %w", n, name, err)
		}
		if strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("line %d: the value of %s holds a NUL byte", n, name)
		}
		vars = append(vars, name+"="+value)
	}
	return vars, nil
}

// validName reports whether a name is one that shells take, too.
func validName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

var errUnclosed = errors.New("lacks its closing quote")

func unquote(raw string) (string, error) {
	switch {
	case raw == "":
		return "", nil
	case raw[0] == '\'':
		value, rest, ok := strings.Cut(raw[1:], "'")
		if !ok {
			return "", errUnclosed
		}
		return value, onlyComment(rest)
	case raw[0] == '"':
		return unescape(raw[1:])
	case raw[0] == '#':
		return "", nil
	}
	for _, comment := range []string{" #", "\t#"} {
		if i := strings.Index(raw, comment); i >= 0 {
			raw = raw[:i]
		}
	}
	return strings.TrimSpace(raw), nil
}

// escapes are what follows a backslash between double quotes.
var escapes = map[byte]byte{'"': '"', '\\': '\\', '$': '$', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape reads the rest of a value in double quotes.
func unescape(raw string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			return b.String(), onlyComment(raw[i+1:])
		case c != '\\':
			b.WriteByte(c)
		case i+1 == len(raw):
			return "", errUnclosed
		default:
			i++
			e, ok := escapes[raw[i]]
			if !ok {
				b.WriteByte('\\') // as it is
				e = raw[i]
			}
			b.WriteByte(e)
		}
	}
	return "", errUnclosed
}

// onlyComment checks what follows a closing quote.
func onlyComment(rest string) error {
	if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' {
		return errors.New("goes on after its closing quote")
	}
	return nil
}
