package schedule_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

func parse(t testing.TB, text string) schedule.Cron {
	t.Helper()
	c, err := schedule.ParseCron(text)
	assert.NilError(t, err, "%q", text)
	return c
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	assert.NilError(t, err)
	return loc
}

func TestCronIsRefused(t *testing.T) {
	for text, reason := range map[string]string{
		"":                  "has 0 fields",
		"* * * *":           "has 4 fields",
		"0 * * * * *":       "has 6 fields",
		"@daily":            "no expression of five fields",
		"@every 1h":         "no expression of five fields",
		"TZ=UTC 0 9 * * *":  "set oz.time_zone",
		"60 * * * *":        "minute: 60 is not within 0 to 59",
		"* 24 * * *":        "hour: 24 is not within 0 to 23",
		"* * 0 * *":         "day of month: 0 is not within 1 to 31",
		"* * 32 * *":        "day of month: 32",
		"* * * 13 *":        "month: 13",
		"* * * * 8":         "day of week: 8",
		"* * * foo *":       `month: "foo" is neither a number from 1 to 12 nor a name such as FEB`,
		"mon * * * *":       "minute: \"mon\" is no number",
		"*/0 * * * *":       "step",
		"*/60 * * * *":      "must be 1 to 59",
		"*/x * * * *":       "step",
		"1,,2 * * * *":      "empty",
		"1, * * * *":        "empty",
		"5-1 * * * *":       "ends before it begins",
		"1-2-3 * * * *":     `"2-3" is no number`,
		"-1 * * * *":        `"" is no number`,
		"+1 * * * *":        `'+'`,
		"1.5 * * * *":       `'.'`,
		"001 * * * *":       "no number",
		"? * * * *":         "minute",
		"* * ?/2 * *":       "day of month",
		"* * L-31 * *":      "L-1 to L-30",
		"* * LW * *":        "neither L",
		"* * L3 * *":        "neither L",
		"* * * * 5L":        "day of week",
		"* * * * 5#3":       `'#'`,
		"H * * * *":         "minute",
		"0 0 30 2 *":        "day of month 30 never comes in month 2",
		"0 0 31 4,6,9,11 *": "never comes",
		"0 0 L-29 2 *":      "never comes",
		"１ * * * *":         "no meaning",
		"* * * * *\n":       "no meaning",
		"* * * * *\x00":     "no meaning",
		"* * * * \xff":      "no meaning",
		strings.Repeat("1,", 1<<20) + "1 * * * *": "at most 200 are allowed",
	} {
		_, err := schedule.ParseCron(text)
		assert.ErrorContains(t, err, reason, "%.40q", text)
		assert.ErrorContains(t, err, "cron_schedule: ")
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
		assert.Assert(t, len(err.Error()) < 400, "%d bytes", len(err.Error()))
	}
}

// TestCronMatches: the ticks of expressions, in UTC.
func TestCronMatches(t *testing.T) {
	for text, want := range map[string][]string{
		"* * * * *":           {"2027-01-30 12:31", "2027-01-30 12:32"},
		"*/20 * * * *":        {"2027-01-30 12:40", "2027-01-30 13:00", "2027-01-30 13:20"},
		"5/25 * * * *":        {"2027-01-30 12:55", "2027-01-30 13:05", "2027-01-30 13:30"},
		"1-9/4,50 1,13 * * *": {"2027-01-30 13:01", "2027-01-30 13:05", "2027-01-30 13:09", "2027-01-30 13:50", "2027-01-31 01:01"},
		"30 12 * * *":         {"2027-01-31 12:30"},
		"0 9 * * MON-fri":     {"2027-02-01 09:00", "2027-02-02 09:00"},
		"0 9 * * fri-sun":     {"2027-01-31 09:00", "2027-02-05 09:00", "2027-02-06 09:00", "2027-02-07 09:00"},
		"0 9 * * 7":           {"2027-01-31 09:00", "2027-02-07 09:00"},
		"0 9 * * 5/1":         {"2027-02-05 09:00", "2027-02-06 09:00", "2027-02-12 09:00"},
		"0 0 1 jan,JUL *":     {"2027-07-01 00:00", "2028-01-01 00:00"},
		"0 0 29 2 *":          {"2028-02-29 00:00", "2032-02-29 00:00"},
		"0 0 L * *":           {"2027-01-31 00:00", "2027-02-28 00:00", "2027-03-31 00:00"},
		"0 0 l-1,1 * ?":       {"2027-02-01 00:00", "2027-02-27 00:00", "2027-03-01 00:00", "2027-03-30 00:00"},
		"0 0 L-28 2 *":        {"2028-02-01 00:00", "2032-02-01 00:00"},
		"0 0 13 * 5":          {"2027-02-05 00:00", "2027-02-12 00:00", "2027-02-13 00:00"}, // either
		"0 0 ? * 1":           {"2027-02-01 00:00", "2027-02-08 00:00"},
		"0 0 30 2 1":          {"2027-02-01 00:00", "2027-02-08 00:00"}, // Mondays of February
		"  0   0\t*  *   *  ": {"2027-01-31 00:00"},
	} {
		c := parse(t, text)
		at, got := time.Date(2027, 1, 30, 12, 30, 30, 0, time.UTC), []string{} // a Saturday
		for range want {
			at = c.Next(at, time.UTC)
			got = append(got, at.Format("2006-01-02 15:04"))
		}
		assert.DeepEqual(t, got, want)
	}
	never := schedule.Cron{}
	assert.Assert(t, never.Next(time.Now(), time.UTC).IsZero())
}

// TestFarLeapDay: 2100 is no leap year.
func TestFarLeapDay(t *testing.T) {
	at := parse(t, "0 0 29 2 *").Next(time.Date(2096, 3, 1, 0, 0, 0, 0, time.UTC), time.UTC)
	assert.Equal(t, at, time.Date(2104, 2, 29, 0, 0, 0, 0, time.UTC))
}

// zones have clock changes of every kind: an hour at night, at midnight, half
// an hour, in the south, offsets of halves and quarters, a whole day left out.
var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo",
	"Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca"}

// TestCronAgainstWalking compares Next with a walk through the minutes that
// looks at the wall clock of each.
func TestCronAgainstWalking(t *testing.T) {
	locations := map[string]*time.Location{}
	for _, z := range zones {
		locations[z] = location(t, z)
	}
	rapid.Check(t, func(rt *rapid.T) {
		loc := locations[rapid.SampledFrom(zones).Draw(rt, "zone")]
		number := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(rt, name) }
		minutes, hours, days := drawSet(rt, "minutes", 0, 59), drawSet(rt, "hours", 0, 23), drawSet(rt, "weekdays", 0, 6)
		c, err := schedule.ParseCron(minutes.text + " " + hours.text + " * * " + days.text)
		assert.NilError(rt, err)
		begin := time.Date(number("year", 2008, 2045), time.Month(number("month", 1, 12)), number("day", 1, 31), number("hour", 0, 23),
			number("minute", 0, 59), number("second", 0, 59), 0, time.UTC)
		at := begin
		for range 3 {
			next := c.Next(at, loc)
			want := walk(at, loc, minutes.has, hours.has, days.has)
			if !next.Equal(want) {
				rt.Fatalf("%s %s * * %s in %s after %s: %s, walking finds %s", minutes.text, hours.text, days.text, loc, at, next.In(loc), want.In(loc))
			}
			at = next
		}
	})
}

type set struct {
	text string
	has  map[int]bool
}

func drawSet(rt *rapid.T, name string, low, high int) set {
	s := set{has: map[int]bool{}}
	if rapid.Bool().Draw(rt, name+" all") {
		for v := low; v <= high; v++ {
			s.has[v] = true
		}
		s.text = "*"
		return s
	}
	var items []string
	for _, v := range rapid.SliceOfN(rapid.IntRange(low, high), 1, 4).Draw(rt, name) {
		s.has[v] = true
		items = append(items, strconv.Itoa(v))
	}
	s.text = strings.Join(items, ",")
	return s
}

// walk finds the next tick by the rules as they are written down: an
// expression for every hour goes by the wall clock of each real minute; else
// what the clock has shown before does not count, and what it jumps over comes
// due where it lands.
func walk(after time.Time, loc *time.Location, minutes, hours, weekdays map[int]bool) time.Time {
	matches := func(w time.Time) bool { return minutes[w.Minute()] && hours[w.Hour()] && weekdays[int(w.Weekday())] }
	naive := func(t time.Time) time.Time {
		t = t.In(loc)
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
	}
	t := after.Truncate(time.Minute)
	latest := naive(t) // that the clock has shown
	for before := t.Add(-48 * time.Hour); before.Before(t); before = before.Add(time.Minute) {
		if w := naive(before); w.After(latest) {
			latest = w
		}
	}
	for range 60 * 24 * 20 {
		t = t.Add(time.Minute)
		w := naive(t)
		if len(hours) == 24 {
			if matches(w) {
				return t
			}
			continue
		}
		for latest.Before(w) {
			latest = latest.Add(time.Minute)
			if matches(latest) {
				return t
			}
		}
	}
	return time.Time{}
}

// FuzzParseCron: whatever is accepted ticks, ever later and at whole minutes,
// and whatever is refused is refused in words.
func FuzzParseCron(f *testing.F) {
	for _, text := range []string{"* * * * *", "*/5 1-3,7 L-2 jan-mar sun", "0 0 29 2 *", "0 0 30 2 *", "@daily", "0 0 ? * fri-sun", "5/7 * 1,L * *", "60 24 32 13 8"} {
		f.Add(text)
	}
	berlin := location(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := schedule.ParseCron(text)
		if err != nil {
			assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
			assert.Assert(t, len(err.Error()) < 1000)
			return
		}
		at := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)
		for range 5 {
			next := c.Next(at, berlin)
			assert.Assert(t, next.After(at), "%q after %s: %s", text, at, next)
			assert.Assert(t, next.Equal(next.Truncate(time.Minute)))
			at = next
		}
	})
}
