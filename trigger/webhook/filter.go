package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of filters.
const (
	maxFilterBytes = 16 << 10
	maxFilterDepth = 16
)

// Filter says which payloads count. It is JSON shaped like the payload (Oz
// platform, WHK-6): of an object all keys must match, of an array any value, and
// instead of a value there may be {"in": [...]}, {"not_in": [...]} or
// {"exists": true}. Where the payload has an array, one of its elements must
// match. The zero Filter matches everything.
type Filter struct{ root matcher }

// ParseFilter reads a filter. Empty text is the zero Filter. It fails with
// task.CodeInvalidRequest, naming the place.
func ParseFilter(text []byte) (Filter, error) {
	if len(bytes.TrimSpace(text)) == 0 || string(bytes.TrimSpace(text)) == "null" {
		return Filter{}, nil
	}
	if len(text) > maxFilterBytes {
		return Filter{}, task.Invalid("filter", "has %d bytes, at most %d are allowed", len(text), maxFilterBytes)
	}
	v, err := decode(text)
	if err != nil {
		return Filter{}, task.Invalid("filter", "is not JSON: %w", err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return Filter{}, task.Invalid("filter", "must be an object that is shaped like the payload")
	}
	root, err := compileObject(object, nil)
	if err != nil {
		return Filter{}, err
	}
	return Filter{root: root}, nil
}

// Match reports whether a payload counts, and if not, why. A payload that is
// not JSON does not.
func (f Filter) Match(payload []byte) (ok bool, why string) {
	if f.root == nil {
		return true, ""
	}
	v, err := decode(payload)
	if err != nil {
		return false, "the payload is not JSON"
	}
	if why = f.root.miss(v, true); why != "" {
		return false, why
	}
	return true, ""
}

// decode reads one JSON value and keeps numbers as they are written.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is more behind the first value")
	}
	return v, nil
}

// matcher judges a value of a payload; miss says why it does not match, "" when
// it does. present is false for what is not there.
type matcher interface {
	miss(v any, present bool) string
}

// object matches when all its keys do.
type object struct {
	path   []string
	fields map[string]matcher
	names  []string
}

func (m object) miss(v any, present bool) string {
	return each(v, present, func(v any, present bool) string {
		fields, ok := v.(map[string]any)
		if !ok && present {
			return place(m.path) + " is no object"
		}
		for _, name := range m.names {
			field, has := fields[name]
			if why := m.fields[name].miss(field, has); why != "" {
				return why
			}
		}
		return ""
	})
}

// among matches values that are, or are not, one of a list.
type among struct {
	path []string
	list []any
	not  bool
}

func (m among) miss(v any, present bool) string {
	if m.not {
		if present && containsAny(v, m.list) {
			return fmt.Sprintf("%s is %s, which must not be", place(m.path), show(v))
		}
		return ""
	}
	if !present {
		return place(m.path) + " is missing"
	}
	if !containsAny(v, m.list) {
		return fmt.Sprintf("%s is %s, not %s", place(m.path), show(v), showAll(m.list))
	}
	return ""
}

// exists matches what is there, or is not.
type exists struct {
	path []string
	want bool
}

func (m exists) miss(_ any, present bool) string {
	if present == m.want {
		return ""
	}
	if present {
		return place(m.path) + " is there, which must not be"
	}
	return place(m.path) + " is missing"
}

// anyMatcher matches when one of several does.
type anyMatcher []matcher

func (m anyMatcher) miss(v any, present bool) string {
	why := ""
	for _, one := range m {
		if why = one.miss(v, present); why == "" {
			return ""
		}
	}
	return why
}

// each lets one element of an array do for the array.
func each(v any, present bool, judge func(v any, present bool) string) string {
	list, ok := v.([]any)
	if !ok {
		return judge(v, present)
	}
	why := "the list is empty"
	for _, element := range list {
		if why = judge(element, true); why == "" {
			return ""
		}
	}
	return why
}

func containsAny(v any, list []any) bool {
	return each(v, true, func(v any, _ bool) string {
		if slices.ContainsFunc(list, func(want any) bool { return same(v, want) }) {
			return ""
		}
		return "no"
	}) == "" || slices.ContainsFunc(list, func(want any) bool { return same(v, want) })
}

// same compares JSON values; numbers by what they are worth.
func same(a, b any) bool {
	x, ok := a.(json.Number)
	y, also := b.(json.Number)
	if ok && also {
		return x == y || equalNumbers(x, y)
	}
	switch a.(type) {
	case nil, bool, string:
		return a == b
	}
	return false
}

// equalNumbers compares numbers of a size that is worth the trouble.
func equalNumbers(x, y json.Number) bool {
	if len(x) > 40 || len(y) > 40 || tooLarge(x) || tooLarge(y) {
		return false
	}
	p, ok := new(big.Rat).SetString(string(x))
	q, also := new(big.Rat).SetString(string(y))
	return ok && also && p.Cmp(q) == 0
}

// tooLarge keeps exponents away that would take the memory of a machine.
func tooLarge(n json.Number) bool {
	_, exponent, ok := strings.Cut(strings.ToLower(string(n)), "e")
	return ok && len(strings.TrimLeft(exponent, "+-0")) > 3
}

// compile reads what a filter says of one place.
func compile(v any, path []string) (matcher, error) {
	if len(path) > maxFilterDepth {
		return nil, task.Invalid("filter", "%s: is nested deeper than %d", place(path), maxFilterDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		return compileObject(v, path)
	case []any:
		return compileList(v, path)
	}
	return among{path: path, list: []any{v}}, nil
}

func compileList(list []any, path []string) (matcher, error) {
	if len(list) == 0 {
		return nil, task.Invalid("filter", "%s: an empty list matches nothing", place(path))
	}
	if !slices.ContainsFunc(list, composite) {
		return among{path: path, list: list}, nil
	}
	var several anyMatcher
	for _, v := range list {
		m, err := compile(v, path)
		if err != nil {
			return nil, err
		}
		several = append(several, m)
	}
	return several, nil
}

func composite(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

func compileObject(fields map[string]any, path []string) (matcher, error) {
	if m, ok, err := compileOperators(fields, path); ok || err != nil {
		return m, err
	}
	o := object{path: path, fields: map[string]matcher{}, names: slices.Sorted(maps.Keys(fields))}
	for _, name := range o.names {
		m, err := compile(fields[name], append(slices.Clone(path), name))
		if err != nil {
			return nil, err
		}
		o.fields[name] = m
	}
	return o, nil
}

// all matches when each of several does.
type all []matcher

func (m all) miss(v any, present bool) string {
	for _, one := range m {
		if why := one.miss(v, present); why != "" {
			return why
		}
	}
	return ""
}

// compileOperators reads an object of operators; ok is false for one that is
// shaped like the payload. The filter as a whole is never one of operators.
func compileOperators(fields map[string]any, path []string) (m matcher, ok bool, err error) {
	operators := 0
	for name := range fields {
		if name == "in" || name == "not_in" || name == "exists" {
			operators++
		}
	}
	if operators == 0 || len(path) == 0 {
		return nil, false, nil
	}
	if operators < len(fields) {
		return nil, false, task.Invalid("filter", "%s: in, not_in and exists cannot stand beside other keys", place(path))
	}
	var list all
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "exists" {
			want, ok := fields[name].(bool)
			if !ok {
				return nil, false, task.Invalid("filter", "%s: exists must be true or false", place(path))
			}
			list = append(list, exists{path: path, want: want})
			continue
		}
		values, ok := fields[name].([]any)
		if !ok || len(values) == 0 || slices.ContainsFunc(values, composite) {
			return nil, false, task.Invalid("filter", "%s: %s must be a list of texts, numbers, true, false or null", place(path), name)
		}
		list = append(list, among{path: path, list: values, not: name == "not_in"})
	}
	return list, true, nil
}

func place(path []string) string {
	if len(path) == 0 {
		return "the payload"
	}
	return strings.Join(path, ".")
}

// show writes a value short enough for a line.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "something"
	}
	return task.CutReason(string(text), 80)
}

func showAll(list []any) string {
	if len(list) == 1 {
		return show(list[0])
	}
	return "one of " + show(list)
}
