package schedule_test

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// The nights on which clocks change.
const (
	berlin, newYork, lordHowe = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
	stJohns, saoPaulo, apia   = "America/St_Johns", "America/Sao_Paulo", "Pacific/Apia"
)

// TestClockChanges is the table of the package's documentation, a row for each
// rule and kind of zone. Times are "local offset-or-name / UTC".
func TestClockChanges(t *testing.T) {
	for _, row := range []struct {
		rule, zone, cron string
		after            string // UTC
		want             []string
	}{
		{"utc has no changes", "UTC", "30 2 * * *", "2026-03-28 12:00", []string{"03-29 02:30 UTC / 02:30", "03-30 02:30 UTC / 02:30"}},
		{"half an hour off, no changes", "Asia/Kolkata", "0 9 * * *", "2026-03-28 12:00", []string{"03-29 09:00 IST / 03:30", "03-30 09:00 IST / 03:30"}},
		{"three quarters off, no changes", "Asia/Kathmandu", "*/30 9 * * *", "2026-03-28 12:00", []string{"03-29 09:00 +0545 / 03:15", "03-29 09:30 +0545 / 03:45"}},

		{"forward, fixed hour", berlin, "30 2 * * *", "2026-03-28 12:00", []string{"03-29 03:00 CEST / 01:00", "03-30 02:30 CEST / 00:30"}},
		{"forward, first minute of the gap", berlin, "0 2 * * *", "2026-03-28 12:00", []string{"03-29 03:00 CEST / 01:00", "03-30 02:00 CEST / 00:00"}},
		{"forward, first minute after the gap", berlin, "0 3 * * *", "2026-03-28 12:00", []string{"03-29 03:00 CEST / 01:00", "03-30 03:00 CEST / 01:00"}},
		{"forward, several become one", berlin, "0,30 2,3 * * *", "2026-03-28 12:00", []string{"03-29 03:00 CEST / 01:00", "03-29 03:30 CEST / 01:30", "03-30 02:00 CEST / 00:00"}},
		{"forward, every other hour", berlin, "0 */2 * * *", "2026-03-28 22:30", []string{"03-29 00:00 CET / 23:00", "03-29 03:00 CEST / 01:00", "03-29 04:00 CEST / 02:00"}},
		{"forward, every hour", berlin, "30 * * * *", "2026-03-29 00:00", []string{"03-29 01:30 CET / 00:30", "03-29 03:30 CEST / 01:30"}},
		{"forward, every half hour", berlin, "*/30 * * * *", "2026-03-29 00:00", []string{"03-29 01:30 CET / 00:30", "03-29 03:00 CEST / 01:00", "03-29 03:30 CEST / 01:30"}},
		{"forward, weekday of the gap", berlin, "30 2 * * SUN", "2026-03-28 12:00", []string{"03-29 03:00 CEST / 01:00", "04-05 02:30 CEST / 00:30"}},
		{"back, fixed hour", berlin, "30 2 * * *", "2026-10-24 12:00", []string{"10-25 02:30 CEST / 00:30", "10-26 02:30 CET / 01:30"}},
		{"back, asked in the second pass", berlin, "30 2 * * *", "2026-10-25 01:10", []string{"10-26 02:30 CET / 01:30"}},
		{"back, first minute after", berlin, "0 3 * * *", "2026-10-24 12:00", []string{"10-25 03:00 CET / 02:00", "10-26 03:00 CET / 02:00"}},
		{"back, minutes of a fixed hour", berlin, "*/30 2 * * *", "2026-10-24 12:00", []string{"10-25 02:00 CEST / 00:00", "10-25 02:30 CEST / 00:30", "10-26 02:00 CET / 01:00"}},
		{"back, every hour", berlin, "30 * * * *", "2026-10-25 00:00", []string{"10-25 02:30 CEST / 00:30", "10-25 02:30 CET / 01:30", "10-25 03:30 CET / 02:30"}},
		{"back, every half hour", berlin, "*/30 * * * *", "2026-10-25 00:10", []string{"10-25 02:30 CEST / 00:30", "10-25 02:00 CET / 01:00", "10-25 02:30 CET / 01:30"}},

		{"forward, fixed hour", newYork, "15 2 * * *", "2026-03-07 12:00", []string{"03-08 03:00 EDT / 07:00", "03-09 02:15 EDT / 06:15"}},
		{"forward, every hour", newYork, "15 * * * *", "2026-03-08 06:00", []string{"03-08 01:15 EST / 06:15", "03-08 03:15 EDT / 07:15"}},
		{"back, fixed hour", newYork, "30 1 * * *", "2026-10-31 12:00", []string{"11-01 01:30 EDT / 05:30", "11-02 01:30 EST / 06:30"}},
		{"back, every hour", newYork, "30 * * * *", "2026-11-01 05:00", []string{"11-01 01:30 EDT / 05:30", "11-01 01:30 EST / 06:30", "11-01 02:30 EST / 07:30"}},

		{"half an hour forward, fixed hour", lordHowe, "15 2 * * *", "2026-10-03 00:00", []string{"10-04 02:30 +11 / 15:30", "10-05 02:15 +11 / 15:15"}},
		{"half an hour forward, where it lands", lordHowe, "15,30 2 * * *", "2026-10-03 00:00", []string{"10-04 02:30 +11 / 15:30", "10-05 02:15 +11 / 15:15"}},
		{"half an hour forward, every hour", lordHowe, "15 * * * *", "2026-10-03 14:00", []string{"10-04 01:15 +1030 / 14:45", "10-04 03:15 +11 / 16:15"}},
		{"half an hour back, fixed hour", lordHowe, "45 1 * * *", "2026-04-04 00:00", []string{"04-05 01:45 +11 / 14:45", "04-06 01:45 +1030 / 15:15"}},
		{"half an hour back, every hour", lordHowe, "45 * * * *", "2026-04-04 14:00", []string{"04-05 01:45 +11 / 14:45", "04-05 01:45 +1030 / 15:15", "04-05 02:45 +1030 / 16:15"}},

		{"half hour zone, forward", stJohns, "30 2 * * *", "2026-03-07 12:00", []string{"03-08 03:00 NDT / 05:30", "03-09 02:30 NDT / 05:00"}},
		{"half hour zone, back", stJohns, "30 1 * * *", "2026-10-31 12:00", []string{"11-01 01:30 NDT / 04:00", "11-02 01:30 NST / 05:00"}},
		{"midnight is not there", saoPaulo, "0 0 * * *", "2018-11-03 12:00", []string{"11-04 01:00 -02 / 03:00", "11-05 00:00 -02 / 02:00"}},
		{"midnight comes twice", saoPaulo, "30 23 * * *", "2018-02-17 12:00", []string{"02-17 23:30 -02 / 01:30", "02-18 23:30 -03 / 02:30"}},
		{"a day is left out", apia, "0 9 * * *", "2011-12-29 12:00", []string{"12-29 09:00 -10 / 19:00", "12-31 00:00 +14 / 10:00", "12-31 09:00 +14 / 19:00"}},
		{"the last day of a far leap year", berlin, "0 9 * * *", "2040-12-30 12:00", []string{"12-31 09:00 CET / 08:00", "01-01 09:00 CET / 08:00"}},
	} {
		t.Run(row.zone+"/"+row.rule, func(t *testing.T) {
			loc := location(t, row.zone)
			moment, got := at(row.after), []string{}
			for range row.want {
				moment = parse(t, row.cron).Next(moment, loc)
				got = append(got, moment.In(loc).Format("01-02 15:04 MST")+moment.UTC().Format(" / 15:04"))
			}
			assert.DeepEqual(t, got, row.want)
		})
	}
}

// TestEveryMinuteIsEven: a schedule of every minute has one tick in each minute
// that passes, whatever the clocks do.
func TestEveryMinuteIsEven(t *testing.T) {
	for zone, change := range map[string]string{berlin: "2026-10-25 01:00", newYork: "2026-03-08 07:00", lordHowe: "2026-10-03 15:30",
		saoPaulo: "2018-11-04 03:00", apia: "2011-12-30 10:00"} {
		c, loc := parse(t, "* * * * *"), location(t, zone)
		moment := at(change).Add(-2 * time.Hour)
		for range 240 {
			next := c.Next(moment, loc)
			assert.Equal(t, next.Sub(moment), time.Minute, "%s after %s", zone, moment)
			moment = next
		}
	}
}
