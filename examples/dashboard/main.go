// Command dashboard serves one page that tells how the runs of a server went:
// success, times, failure reasons and cost, over time and by whatever one asks
// for. It is a start for a dashboard of your own, on the Go SDK.
//
//	WARP_API_KEY=... go run ./examples/dashboard -server http://127.0.0.1:8080
//
// Then open http://127.0.0.1:8090. The page shows what the key may see, to
// whoever reaches it: keep it on a private address.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

func main() {
	server := flag.String("server", "http://127.0.0.1:8080", "address of the server; its key is in WARP_API_KEY")
	listen := flag.String("listen", "127.0.0.1:8090", "address of the page")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *server, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, server, listen string) error {
	c, err := client.New(server, &client.Options{APIKey: os.Getenv("WARP_API_KEY")})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("The dashboard is at http://%s\n", l.Addr())
	s := &http.Server{Handler: dashboard{c}, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute}
	stopped := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stopped()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// stats is what the page needs: the SDK has it, and so has an embedded platform.
type stats interface {
	Stats(ctx context.Context, q oz.StatsQuery) (oz.StatsReport, error)
}

// dashboard is the page.
type dashboard struct{ stats stats }

// view is what the page shows.
type view struct {
	oz.StatsReport
	Group  task.StatsGroup
	Days   int
	Groups []task.StatsGroup
	Ranges []int
	Bars   []bar
}

// bar is a day of the chart: heights are of 100.
type bar struct {
	X, Good, Bad float64
	Title        string
}

func (d dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	v := view{Group: task.StatsGroup(cmp.Or(r.FormValue("by"), string(task.StatsByAgent))), Days: 30, Groups: task.StatsGroups(), Ranges: []int{1, 7, 30, 90}}
	if days, err := strconv.Atoi(r.FormValue("days")); err == nil {
		v.Days = days
	}
	now := time.Now()
	bucket := oz.StatsDaily
	if v.Days <= 2 {
		bucket = oz.StatsHourly
	}
	var err error
	v.StatsReport, err = d.stats.Stats(r.Context(), oz.StatsQuery{Group: v.Group, Bucket: bucket, TimeZone: r.FormValue("zone"), From: now.AddDate(0, 0, -v.Days), To: now})
	if err != nil {
		status := task.CodeOf(err).HTTPStatus()
		http.Error(w, err.Error(), status)
		return
	}
	v.Bars = bars(v.Buckets)
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
	if err := page.Execute(w, v); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err) // the reader has gone
	}
}

// bars draws each piece of the time as high as it has runs.
func bars(pieces []oz.StatsPiece) []bar {
	most := int64(1)
	for _, p := range pieces {
		most = max(most, p.Stats.Runs)
	}
	var out []bar
	for i, p := range pieces {
		s := p.Stats
		out = append(out, bar{X: float64(i), Good: 100 * float64(s.Succeeded) / float64(most), Bad: 100 * float64(s.Runs-s.Succeeded) / float64(most),
			Title: fmt.Sprintf("%s: %d runs, %d succeeded", p.Start.Format("2 Jan 15:04"), s.Runs, s.Succeeded)})
	}
	return out
}

func percent(s task.RunStats) string {
	rate, ok := s.SuccessRate()
	if !ok {
		return "–"
	}
	return strconv.FormatFloat(100*rate, 'f', 1, 64) + " %"
}

func round(d time.Duration) string {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{"percent": percent, "round": round,
	"minus": func(a, b float64) float64 { return a - b }}).Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>How the runs went</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif } body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left } svg { width: 100%; height: 10rem } .good { fill: #2a7 } .bad { fill: #c55 }
</style>
<h1>How the runs went</h1>
<form>of the last <select name="days">{{range .Ranges}}<option{{if eq . $.Days}} selected{{end}}>{{.}}</option>{{end}}</select> days, by
<select name="by">{{range .Groups}}<option{{if eq . $.Group}} selected{{end}}>{{.}}</option>{{end}}</select> <button>Show</button></form>
{{define "row"}}<td>{{.Runs}}</td><td>{{percent .}}</td><td>{{round .RunTime.P50}} / {{round .RunTime.P95}}</td><td>{{round .QueueTime.P50}} / {{round .QueueTime.P95}}</td>
<td>${{printf "%.2f" .CostUSD}}{{if .Unpriced}}+{{end}}</td>{{end}}
<svg viewBox="0 0 {{len .Bars}} 100" preserveAspectRatio="none" role="img" aria-label="Runs over time">{{range .Bars}}<g><title>{{.Title}}</title>
<rect class="good" x="{{.X}}" width=".9" y="{{minus 100 .Good}}" height="{{.Good}}"/><rect class="bad" x="{{.X}}" width=".9" y="{{minus (minus 100 .Good) .Bad}}" height="{{.Bad}}"/></g>{{end}}</svg>
<table><tr><th>{{.Group}}</th><th>runs</th><th>success</th><th>run time, half / 95 %</th><th>queue time, half / 95 %</th><th>cost</th></tr>
{{range .StatsReport.Groups}}<tr><td>{{or .Name .Key "none"}}</td>{{template "row" .Stats}}</tr>
{{end}}<tr><td>all</td>{{template "row" .Total}}</tr></table>
{{with .Total.Failures}}<h2>Why runs failed</h2><table><tr><th>reason</th><th>runs</th></tr>{{range .}}<tr><td>{{or .Code "the agent's own word"}}</td><td>{{.Count}}</td></tr>{{end}}</table>{{end}}
</html>
`))
