package schedule

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// maxCron bounds an expression, in bytes. Runs carry it in their metadata,
// whose values have at most 256.
const maxCron = 200

// Cron is an expression of five fields. The zero Cron never ticks.
type Cron struct {
	// Bit n says that n matches.
	minute, hour, day, month, weekday uint64
	// Bit n of last says that the n-th day before the last of a month matches.
	last uint64
	// anyDay and anyWeekday say that the field is a bare "*" or "?".
	anyDay, anyWeekday bool
}

// everyHour reports that every hour of the day matches.
func (c Cron) everyHour() bool { return c.hour == 1<<24-1 }

// field is one of the five.
type field struct {
	name     string
	min, max int
	names    string // of min and the values after it, three letters each
}

// The five fields, in order. Sunday is 0 and 7.
var fields = [5]field{
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: "janfebmaraprmayjunjulaugsepoctnovdec"},
	{name: "day of week", max: 7, names: "sunmontuewedthufrisat"},
}

const (
	fieldDay     = 2
	fieldWeekday = 4
)

// ParseCron reads "minute hour day-of-month month day-of-week". Fields are
// lists of *, n, n-m, each with or without /step; months and weekdays have
// English names of three letters; the day of month may be L, the last, or L-n;
// ? is * for the two day fields. When both day fields are restricted, a day
// that either names matches, as POSIX has it.
//
// It fails with task.CodeInvalidRequest about cron_schedule, also for an
// expression that never matches, such as February 30.
func ParseCron(text string) (Cron, error) {
	c, err := parseCron(text)
	if err != nil {
		return Cron{}, task.Invalid("cron_schedule", "%w", err)
	}
	return c, nil
}

func parseCron(text string) (c Cron, err error) {
	parts, err := split(text)
	if err != nil {
		return Cron{}, err
	}
	sets := [5]uint64{}
	for i, f := range fields {
		if sets[i], err = c.parseField(i, parts[i]); err != nil {
			return Cron{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	c.minute, c.hour, c.day, c.month, c.weekday = sets[0], sets[1], sets[2], sets[3], sets[4]
	if c.weekday&(1<<7) != 0 {
		c.weekday = c.weekday&^(1<<7) | 1
	}
	c.anyDay, c.anyWeekday = isAny(parts[fieldDay]), isAny(parts[fieldWeekday])
	if !c.possible() {
		return Cron{}, fmt.Errorf("day of month %s never comes in month %s", parts[fieldDay], parts[fieldDay+1])
	}
	return c, nil
}

// split checks the text as a whole and gives its five fields.
func split(text string) ([]string, error) {
	if len(text) > maxCron {
		return nil, fmt.Errorf("has %d bytes, at most %d are allowed", len(text), maxCron)
	}
	switch trimmed := strings.TrimSpace(text); {
	case strings.HasPrefix(trimmed, "@"):
		return nil, fmt.Errorf("%s is no expression of five fields; write for example 0 0 * * * for every midnight", firstWord(trimmed))
	case strings.Contains(trimmed, "TZ="):
		return nil, errors.New("a time zone does not belong into the expression; set oz.time_zone")
	}
	for _, r := range text {
		if r > 'z' || !strings.ContainsRune("0123456789*/,-? \t", r) && (r < 'A' || r > 'Z') && r < 'a' {
			return nil, fmt.Errorf("the character %q has no meaning in a cron expression", r)
		}
	}
	parts := strings.Fields(text)
	switch {
	case len(parts) == 6:
		return nil, errors.New("has 6 fields, 5 are needed: minute, hour, day of month, month, day of week; seconds and years cannot be given")
	case len(parts) != 5:
		return nil, fmt.Errorf("has %d fields, 5 are needed: minute, hour, day of month, month, day of week", len(parts))
	}
	return parts, nil
}

func firstWord(s string) string {
	word := strings.Fields(s)[0]
	return strconv.Quote(word[:min(len(word), 20)])
}

func isAny(part string) bool { return part == "*" || part == "?" }

// parseField gives the set of one field; L goes into c.last.
func (c *Cron) parseField(i int, part string) (set uint64, err error) {
	for item := range strings.SplitSeq(part, ",") {
		if i == fieldDay && strings.EqualFold(item[:min(len(item), 1)], "l") {
			if err := c.parseLast(item); err != nil {
				return 0, err
			}
			continue
		}
		values, err := fields[i].parseItem(i, item)
		if err != nil {
			return 0, err
		}
		set |= values
	}
	return set, nil
}

// parseLast reads L and L-n.
func (c *Cron) parseLast(item string) error {
	rest, offset := item[1:], 0
	if rest != "" {
		n, ok := number(strings.TrimPrefix(rest, "-"))
		if !ok || rest[0] != '-' || n < 1 || n > 30 {
			return fmt.Errorf("%q is neither L, the last day, nor L-1 to L-30", item)
		}
		offset = n
	}
	c.last |= 1 << offset
	return nil
}

// parseItem gives the values of one item of a list.
func (f field) parseItem(i int, item string) (uint64, error) {
	if item == "" {
		return 0, errors.New("an item of the list is empty")
	}
	body, stepText, stepped := strings.Cut(item, "/")
	from, to, err := f.span(i, body, stepped)
	if err != nil {
		return 0, err
	}
	step := 1
	if stepped {
		ok := false
		if step, ok = number(stepText); !ok || step < 1 || step > f.max-f.min {
			return 0, fmt.Errorf("the step of %q must be 1 to %d", item, f.max-f.min)
		}
	}
	set := uint64(0)
	for v := from; v <= to; v += step {
		set |= 1 << v
	}
	return set, nil
}

// span gives the first and last value of an item without its step. A single
// value with a step reaches to the field's end.
func (f field) span(i int, body string, stepped bool) (from, to int, err error) {
	if body == "*" || body == "?" && !stepped && (i == fieldDay || i == fieldWeekday) {
		if i == fieldWeekday {
			return 0, 6, nil
		}
		return f.min, f.max, nil
	}
	low, high, isRange := strings.Cut(body, "-")
	if from, err = f.value(low); err != nil {
		return 0, 0, err
	}
	to = from
	switch {
	case isRange:
		if to, err = f.value(high); err != nil {
			return 0, 0, err
		}
		if i == fieldWeekday && to == 0 && from > 0 { // fri-sun
			to = 7
		}
	case stepped && i == fieldWeekday:
		to = 6
	case stepped:
		to = f.max
	}
	if to < from {
		return 0, 0, fmt.Errorf("the range %q ends before it begins; write it as two", body)
	}
	return from, to, nil
}

// value reads a number or a name.
func (f field) value(text string) (int, error) {
	if n, ok := number(text); ok {
		if n < f.min || n > f.max {
			return 0, fmt.Errorf("%d is not within %d to %d", n, f.min, f.max)
		}
		return n, nil
	}
	for i := 0; len(text) == 3 && i < len(f.names); i += 3 {
		if strings.EqualFold(text, f.names[i:i+3]) {
			return f.min + i/3, nil
		}
	}
	if f.names != "" {
		return 0, fmt.Errorf("%q is neither a number from %d to %d nor a name such as %s", text, f.min, f.max, strings.ToUpper(f.names[3:6]))
	}
	return 0, fmt.Errorf("%q is no number from %d to %d", text, f.min, f.max)
}

// number reads one or two digits.
func number(text string) (int, bool) {
	if len(text) < 1 || len(text) > 2 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// possible reports that some day of some year matches.
func (c Cron) possible() bool {
	if c.anyDay || !c.anyWeekday {
		return true
	}
	for m := 1; m <= 12; m++ {
		longest := 31
		switch m {
		case 2:
			longest = 29
		case 4, 6, 9, 11:
			longest = 30
		}
		if c.month&(1<<m) != 0 && (c.day&(1<<(longest+1)-1) != 0 || bits.TrailingZeros64(c.last) < longest) {
			return true
		}
	}
	return false
}
