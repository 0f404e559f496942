package web_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// TestCronInWords reads what the pages say of expressions back into
// expressions, and compares when both tick. What has no words must come back
// as it is.
func TestCronInWords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]string, 3000)
	for i := range all {
		all[i] = randomCron(r)
	}
	said := 0
	from := time.Date(2026, 1, 31, 11, 58, 0, 0, time.UTC)
	for i, words := range describe(t, all) {
		if words == all[i] {
			continue
		}
		said++
		back, ok := cronOfWords(words)
		assert.Assert(t, ok, "%s: %q is not understood", all[i], words)
		want, err := schedule.Upcoming(all[i], "", from, 120)
		if err != nil {
			continue // never ticks
		}
		got, err := schedule.Upcoming(back, "", from, 120)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, want)
	}
	assert.Assert(t, said > len(all)/4, "only %d of %d have words", said, len(all))
}

// TestCronWords holds the words for what people really write, and the silence
// about what is no expression.
func TestCronWords(t *testing.T) {
	want := map[string]string{
		"* * * * *":           "Every minute",
		"*/15 * * * *":        "Every 15 minutes",
		"*/7 * * * *":         "*/7 * * * *",
		"0 * * * *":           "Every hour",
		"5 * * * *":           "Every hour at :05",
		"0 9 * * *":           "Every day at 09:00",
		"0 9 * * MON-FRI":     "At 09:00, Monday to Friday",
		"30 9,17 * * 1":       "At 09:30 and 17:30 on Monday",
		"0 0 L * *":           "At 00:00 on the last day of the month",
		"0 0 1,15 * 1":        "At 00:00 on the 1st and the 15th of the month, and on Monday",
		"*/15 9-17 * * 6,0":   "Every 15 minutes from 09:00 to 17:45 on Saturday and Sunday",
		"0 3 1 1 *":           "At 03:00 on the 1st of the month, in January",
		"0 0 30 2 x":          "0 0 30 2 x",
		"@daily":              "@daily",
		"0 0 * *":             "0 0 * *",
		"60 * * * *":          "60 * * * *",
		"0 5-1 * * *":         "0 5-1 * * *",
		"<b>9</b> * * * *":    "<b>9</b> * * * *",
		"0 0 1-7/0 * *":       "0 0 1-7/0 * *",
		"0,,1 * * * *":        "0,,1 * * * *",
		"0 0 L-31 * *":        "0 0 L-31 * *",
		"TZ=UTC 0 0 * *":      "TZ=UTC 0 0 * *",
		"0 0 * * constructor": "0 0 * * constructor",
	}
	var all []string
	for cron := range want {
		all = append(all, cron)
	}
	for i, words := range describe(t, all) {
		assert.Equal(t, words, want[all[i]], all[i])
	}
}

// describe asks the module of the pages.
func describe(t *testing.T, expressions []string) []string {
	t.Helper()
	return scripted[string](t, "assets/js/core/cron.js", "m.describe(text)", "", expressions)
}

func randomCron(r *rand.Rand) string {
	n := func(lo, hi int) string { return strconv.Itoa(lo + r.IntN(hi-lo+1)) }
	field := func(lo, hi int, extra ...string) string {
		a, b := lo+r.IntN(hi-lo+1), lo+r.IntN(hi-lo+1)
		forms := append([]string{"*", "*", "*", n(lo, hi), n(lo, hi), "*/" + n(1, (hi-lo)/2), n(lo, hi) + "," + n(lo, hi), n(lo, hi) + "," + n(lo, hi) + "," + n(lo, hi),
			fmt.Sprintf("%d-%d", min(a, b), max(a, b)), fmt.Sprintf("%d-%d/%s", min(a, b), max(a, b), n(1, 5)), n(lo, hi) + "/" + n(1, 5)}, extra...)
		return forms[r.IntN(len(forms))]
	}
	return strings.Join([]string{field(0, 59, "0", "0", "*/5", "*/20", "30"), field(0, 23, "9-17", "*/6", "*/2"), field(1, 31, "L", "L-1", "1,L", "L-3,15", "1-7", "?"),
		field(1, 12, "JAN", "mar-may"), field(0, 7, "MON-FRI", "sat,sun", "fri-sun", "5-7", "?")}, " ")
}

const (
	monthNames = "January|February|March|April|May|June|July|August|September|October|November|December"
	dayNames   = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
)

var (
	wordsMonths = regexp.MustCompile(`^(.*?)(?:, (?:in|from) ((?:` + monthNames + `)(?:(?:, | and | to )(?:` + monthNames + `))*))?$`)
	wordsWeek   = regexp.MustCompile(`^(.*?)(?:(?:, and on |, | on )((?:` + dayNames + `)(?:(?:, | and | to )(?:` + dayNames + `))*))?$`)
	wordsMonth  = regexp.MustCompile(`^(.*?)(?: on (.*) of the month)?$`)
	wordsSpan   = regexp.MustCompile(`^every (?:(\d+) )?(minutes?|hours?)(?: at :(\d\d))?(?: from (\d\d):(\d\d)(?: to (\d\d):(\d\d))?)?$`)
	separators  = regexp.MustCompile(`, | and `)
)

// cronOfWords is the inverse of describe, written from its words alone.
func cronOfWords(words string) (string, bool) {
	rest := strings.TrimPrefix(strings.ToLower(words[:1])+words[1:], "every day ")
	m := wordsMonths.FindStringSubmatch(rest)
	month := named(m[2], strings.Split(monthNames, "|"), 1)
	m = wordsWeek.FindStringSubmatch(m[1])
	week := named(m[2], strings.Split(dayNames, "|"), 1)
	m = wordsMonth.FindStringSubmatch(m[1])
	day := "*"
	if m[2] != "" {
		var items []string
		for _, item := range separators.Split(m[2], -1) {
			items = append(items, dayOfWords(item))
		}
		day = strings.Join(items, ",")
	}
	minute, hour, ok := timeOfWords(m[1])
	return strings.Join([]string{minute, hour, day, month, week}, " "), ok
}

// named reads "A to B" and "A, B and C".
func named(words string, names []string, first int) string {
	if words == "" {
		return "*"
	}
	number := func(name string) string {
		for i, n := range names {
			if n == name {
				return strconv.Itoa(first + i)
			}
		}
		return "?" + name
	}
	if from, to, ok := strings.Cut(words, " to "); ok {
		return number(from) + "-" + number(to)
	}
	var list []string
	for _, name := range separators.Split(words, -1) {
		list = append(list, number(name))
	}
	return strings.Join(list, ",")
}

func dayOfWords(item string) string {
	digits := regexp.MustCompile(`\d+`).FindAllString(item, -1)
	switch {
	case item == "the last day":
		return "L"
	case item == "the day before the last":
		return "L-1"
	case strings.HasSuffix(item, "days before the last"):
		return "L-" + digits[0]
	}
	return strings.Join(digits, "-")
}

func timeOfWords(words string) (minute, hour string, ok bool) {
	if list, ok := strings.CutSuffix(words, " of every hour"); ok {
		return strings.ReplaceAll(strings.Join(separators.Split(strings.TrimPrefix(list, "at "), -1), ","), ":", ""), "*", true
	}
	if list, ok := strings.CutPrefix(words, "at "); ok {
		var hours, minutes []string
		for _, at := range separators.Split(list, -1) {
			h, m, _ := strings.Cut(at, ":")
			hours, minutes = append(hours, h), append(minutes, m)
		}
		return strings.Join(minutes, ","), strings.Join(hours, ","), true
	}
	m := wordsSpan.FindStringSubmatch(words)
	if m == nil {
		return "", "", false
	}
	step, unit, at, fromHour, fromMinute, toHour := m[1], m[2], m[3], m[4], m[5], m[6]
	if strings.HasPrefix(unit, "minute") {
		minute, hour = "*", "*"
		if step != "" {
			minute = "*/" + step
		}
		if fromHour != "" {
			hour = fromHour + "-" + toHour
		}
		return minute, hour, true
	}
	minute, hour = "0", "*"
	if at != "" {
		minute = at
	}
	if fromHour != "" {
		minute = fromMinute
		hour = fromHour + "-" + toHour
		if step != "" {
			hour = fromHour + "-23/" + step
		}
	}
	return minute, hour, true
}
