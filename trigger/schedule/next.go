package schedule

import (
	"math/bits"
	"time"
)

// horizon is how many years ahead a match is looked for: February 29 may be
// eight years away.
const horizon = 9

// Next gives the first tick after a moment, on the wall clocks of loc; the
// zero time if there is none. What it does when clocks are changed is the
// table in the package's documentation.
func (c Cron) Next(after time.Time, loc *time.Location) time.Time {
	s := seasonAt(after, loc)
	from := s.wall(after).Truncate(time.Minute).Add(time.Minute)
	for {
		if !c.everyHour() && from.Before(s.repeated) {
			from = s.repeated
		}
		w, ok := c.match(from)
		if !ok {
			return time.Time{}
		}
		if at := s.instant(w); s.end.IsZero() || at.Before(s.end) {
			return at
		}
		next := seasonAt(s.end, loc)
		opening := next.wall(s.end)
		if !c.everyHour() && w.Before(opening) { // the clock jumps over it
			return s.end
		}
		s, from = next, opening.Add(time.Minute-1).Truncate(time.Minute)
	}
}

// season is a time during which a zone's clocks differ from UTC by a constant.
// Wall clock times are written as if they were UTC.
type season struct {
	end    time.Time // zero when it never ends
	offset time.Duration
	// repeated is until when the season's wall clock shows times that the
	// season before has shown already; zero when there was none before.
	repeated time.Time
}

func seasonAt(t time.Time, loc *time.Location) season {
	start, end := t.In(loc).ZoneBounds()
	s := season{offset: offsetAt(t, loc)}
	switch {
	case end.IsZero():
	case end.After(t):
		s.end = end.UTC()
	default: // ZoneBounds ends leap years after 2037 a day early; nothing changes on that day
		s.end = t.UTC().Add(24 * time.Hour)
	}
	if !start.IsZero() {
		s.repeated = start.UTC().Add(offsetAt(start.Add(-1), loc))
	}
	return s
}

func offsetAt(t time.Time, loc *time.Location) time.Duration {
	_, seconds := t.In(loc).Zone()
	return time.Duration(seconds) * time.Second
}

func (s season) wall(t time.Time) time.Time    { return t.UTC().Add(s.offset) }
func (s season) instant(w time.Time) time.Time { return w.Add(-s.offset) }

// match gives the first matching minute of the wall clock at or after w, which
// is a whole minute.
func (c Cron) match(w time.Time) (time.Time, bool) {
	year, month, day := w.Date()
	hour, minute := w.Hour(), w.Minute()
	for last := year + horizon; year <= last; {
		if c.month&(1<<month) != 0 {
			first := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Weekday()
			for length := daysIn(year, month); day <= length; day++ {
				if c.matchesDay(day, length, (int(first)+day-1)%7) {
					if h, m, ok := c.timeOfDay(hour, minute); ok {
						return time.Date(year, month, day, h, m, 0, 0, time.UTC), true
					}
				}
				hour, minute = 0, 0
			}
		}
		day, hour, minute = 1, 0, 0
		if month++; month > time.December {
			year, month = year+1, time.January
		}
	}
	return time.Time{}, false
}

// matchesDay judges a day of a month of some length.
func (c Cron) matchesDay(day, length, weekday int) bool {
	byDay := c.day&(1<<day) != 0 || c.last&(1<<(length-day)) != 0
	byWeekday := c.weekday&(1<<weekday) != 0
	if c.anyDay || c.anyWeekday {
		return byDay && byWeekday
	}
	return byDay || byWeekday
}

// timeOfDay gives the first matching time of a day at or after one.
func (c Cron) timeOfDay(hour, minute int) (h, m int, ok bool) {
	if c.hour&(1<<hour) != 0 {
		if rest := c.minute >> minute; rest != 0 {
			return hour, minute + bits.TrailingZeros64(rest), true
		}
	}
	rest := c.hour >> (hour + 1)
	if rest == 0 || c.minute == 0 {
		return 0, 0, false
	}
	return hour + 1 + bits.TrailingZeros64(rest), bits.TrailingZeros64(c.minute), true
}

func daysIn(year int, month time.Month) int {
	switch month {
	case time.February:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case time.April, time.June, time.September, time.November:
		return 30
	}
	return 31
}

// newest gives the ticks after one moment and up to another, at most limit of
// them: the newest, in order. It does not walk through a long time for that.
func (c Cron) newest(after, until time.Time, loc *time.Location, limit int) []time.Time {
	for span := time.Hour; ; span *= 4 {
		from := until.Add(-span)
		if whole := !from.After(after); whole {
			from = after
		}
		var ticks []time.Time
		for t := c.Next(from, loc); !t.IsZero() && !t.After(until); t = c.Next(t, loc) {
			ticks = append(ticks, t)
		}
		if len(ticks) >= limit || from.Equal(after) {
			return ticks[max(0, len(ticks)-limit):]
		}
	}
}

// Upcoming gives the first n ticks after a moment of an expression in a time
// zone (an IANA name, empty for UTC), without jitter: fewer when no more come.
// It fails with task.CodeInvalidRequest about cron_schedule or oz.time_zone.
func Upcoming(expression, zone string, after time.Time, n int) ([]time.Time, error) {
	c, err := ParseCron(expression)
	if err != nil {
		return nil, err
	}
	loc, err := Timing{TimeZone: zone}.location()
	if err != nil {
		return nil, err
	}
	ticks := make([]time.Time, 0, n)
	for t := c.Next(after, loc); !t.IsZero() && len(ticks) < n; t = c.Next(t, loc) {
		ticks = append(ticks, t)
	}
	return ticks, nil
}
