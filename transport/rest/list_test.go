package rest_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// refuseAll is a policy that lets nothing through.
func refuseAll(context.Context, oz.Request) error { return errors.New("refused by the test") }

type page struct {
	Runs []struct {
		RunID    string            `json:"run_id"`
		Title    string            `json:"title"`
		Metadata map[string]string `json:"metadata"`
	} `json:"runs"`
	PageInfo struct {
		HasNextPage bool   `json:"has_next_page"`
		NextCursor  string `json:"next_cursor"`
	} `json:"page_info"`
}

func TestListPages(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	var all []string
	for i := range 45 {
		run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: fmt.Sprintf("job %02d", i), Title: fmt.Sprintf("title %02d", i%7),
			Metadata: map[string]string{"ticket.id": fmt.Sprint(i % 3), "empty": ""}})
		assert.NilError(t, err)
		all = append(all, string(run.ID))
	}
	list := func(query string) page {
		a := e.Call(transporttest.AdminKey, "GET", "/agent/runs?"+query, nil)
		assert.Equal(t, a.Status, 200, "%s: %s", query, a.Body)
		var p page
		a.JSON(e, &p)
		assert.Equal(t, p.PageInfo.HasNextPage, p.PageInfo.NextCursor != "")
		return p
	}
	// walk resends the whole query with each cursor, as the SDKs do.
	walk := func(query string) (ids []string, pages int) {
		for cursor := ""; ; pages++ {
			p := list(query + "&cursor=" + url.QueryEscape(cursor))
			for _, r := range p.Runs {
				ids = append(ids, r.RunID)
			}
			if !p.PageInfo.HasNextPage {
				return ids, pages + 1
			}
			assert.Assert(t, len(p.Runs) > 0, "a page that is not the last is empty")
			cursor = p.PageInfo.NextCursor
		}
	}
	assert.Equal(t, len(list("").Runs), 20)
	for _, query := range []string{"limit=10", "limit=1", "limit=45", "limit=500", "sort_by=title&sort_order=asc&limit=7", "sort_by=created_at", "sort_by=agent&limit=11"} {
		ids, _ := walk(query)
		slices.Sort(ids)
		assert.DeepEqual(t, ids, slices.Sorted(slices.Values(all)))
	}
	_, pages := walk("limit=45")
	assert.Equal(t, pages, 1)

	for query, want := range map[string]int{
		"state=QUEUED": 20, "state=QUEUED&state=FAILED": 20, "state[]=QUEUED": 20, "state=QUEUED,FAILED": 20, "state=FAILED": 0, "state=": 20,
		"metadata%5Bticket.id%5D=1": 15, "metadata[ticket.id]=1&limit=100": 15, "metadata[empty]=&limit=100": 45, "metadata[nothing]=&limit=100": 0,
		"q=job+07": 1, "q=JOB%2007": 1, "q=": 20, "factory_uid=f1": 0, "skill=a&skill_spec=b": 0, "automation_id=x": 0,
		"environment_id=empty-environment&limit=100": 45, "limit=": 20, "name=&model_id=&creator=": 20, "unknown=1": 20,
		"created_after=2019-12-27T18%3A11%3A19.117000%2B00%3A00&limit=100": 45, "created_before=2019-12-27T18:11:19": 0,
		"execution_location=REMOTE&limit=100": 45, "execution_location=LOCAL": 0, "source=SLACK": 0, "artifact_type=PLAN": 0,
	} {
		assert.Equal(t, len(list(query).Runs), want, query)
	}
	cursor := list("limit=10").PageInfo.NextCursor
	for _, query := range []string{
		"limit=0", "limit=501", "limit=-1", "limit=ten", "state=NEW", "state=QUEUED,", "source=MOON", "sort_by=size", "sort_order=up", "cursor=garbage",
		"limit=10&sort_order=asc&cursor=" + cursor, "limit=10&sort_by=title&cursor=" + cursor, "created_after=yesterday", "execution_location=MARS",
		"artifact_type=ROCK", "ancestor_run_id=nothing", "metadata[a]=1&metadata[b]=1&metadata[c]=1&metadata[d]=1&metadata[e]=1&metadata[f]=1",
		"name=a&name=b", "%zz", "metadata[]=x", "q=" + strings.Repeat("x", 17<<10),
	} {
		a := e.Call(transporttest.AdminKey, "GET", "/agent/runs?"+query, nil)
		if query == "state=QUEUED," {
			assert.Equal(t, a.Status, 200) // an empty item counts as not given
			continue
		}
		assert.Equal(t, a.Status, 400, "%.80s: %s", query, a.Body)
	}
	var empty map[string]any
	e.Call(e.Outsider, "GET", "/agent/runs", nil).JSON(e, &empty)
	assert.DeepEqual(t, empty, map[string]any{"runs": []any{}, "page_info": map[string]any{"has_next_page": false}})
}
