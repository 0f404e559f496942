package figure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
	"github.com/oz-platform/cloudagents/task"
)

const readRuns = 1000 // that the databases of reads hold

// reads measures one run and the newest 50 over HTTP, per second, beside a
// bare server that reads as much and sends it as it is.
func reads(ctx context.Context, b *Bench) ([]measure.Row, error) {
	var document []byte // a run as the API gives it
	ours := b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		p, err := open(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		if err := p.fill(ctx, readRuns); err != nil {
			return nil, err
		}
		page, err := p.List(ctx, task.Query{Limit: 1})
		if err != nil {
			return nil, err
		}
		s, err := p.serve(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		root := "http://" + s.address + "/api/v1/agent/runs"
		one := root + "/" + string(page.Tasks[0].ID)
		if document, err = fetch(http.DefaultClient, one); err != nil {
			return nil, err
		}
		return b.gets(one, root+"?limit=50")
	})
	bare := b.inDir("bare", func(_ context.Context, dir string) (v []float64, err error) {
		d, err := raw.NewDocuments(database(dir), document, readRuns)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		s, err := serve(&http.Server{Handler: d.Handler()})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		root := "http://" + s.address
		return b.gets(root+"/one?id="+strconv.Itoa(readRuns/2), root+"/newest")
	})
	r, err := measure.Take(ctx, b.Rounds, ours, bare)
	if err != nil {
		return nil, err
	}
	const against = "bare net/http, same rows"
	return []measure.Row{
		r.Compare(rate("H1", "HTTP get of a run, 32 clients", "/s", against, 0, 0), 0, 1, 0),
		r.Compare(rate("H1", "HTTP list of the newest 50, 32 clients", "/s", against, 0, 0), 0, 1, 1),
	}, nil
}

// gets fetches each address with clients that keep their connections.
func (b *Bench) gets(urls ...string) (perSecond []float64, err error) {
	transport := &http.Transport{MaxIdleConnsPerHost: createClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, url := range urls {
		n, err := clients(createClients, b.Duration, func(int) error {
			_, err := fetch(client, url)
			return err
		})
		if err != nil {
			return nil, err
		}
		perSecond = append(perSecond, n)
	}
	return perSecond, nil
}

// fetch reads what an address has, as the platform's first person.
func fetch(client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", resp.StatusCode, body)
	}
	return body, err
}
