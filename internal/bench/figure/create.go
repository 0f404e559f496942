package figure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
	"github.com/oz-platform/cloudagents/transport/rest"
)

const createClients = 32

// apiKey is that of the platform's first person.
const apiKey = "oz-bench-0123456789abcdef0123456789abcdef"

// create is P6: runs that are created over HTTP, per second, beside a bare
// server that stores as much durably.
func create(ctx context.Context, b *Bench) ([]measure.Row, error) {
	ours := b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		p, err := open(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		s, err := p.serve(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		return b.posts(s.address)
	})
	bare := b.inDir("bare", func(ctx context.Context, dir string) (v []float64, err error) {
		q, err := raw.NewSQLite(database(dir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		s, err := serve(&http.Server{Handler: raw.CreateHandler(q.Enqueue)})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		return b.posts(s.address)
	})
	r, err := measure.Take(ctx, b.Rounds, ours, bare)
	if err != nil {
		return nil, err
	}
	return []measure.Row{r.Compare(rate("P6", "HTTP create, 32 clients, SQLite", "/s", "bare net/http, one insert", 0.5, 0.7), 0, 1, 0)}, nil
}

// server is an HTTP server on loopback.
type server struct {
	*http.Server
	address string
	ended   chan error
}

func serve(s *http.Server) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	out := &server{Server: s, address: l.Addr().String(), ended: make(chan error, 1)}
	go func() { out.ended <- s.Serve(l) }()
	return out, nil
}

func (s *server) close() error {
	err := s.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// serve puts the platform's API on loopback. apiKey may use it.
func (p *platform) serve(ctx context.Context) (*server, error) {
	if _, _, err := p.Registry().Bootstrap(ctx, apiKey); err != nil {
		return nil, err
	}
	h, err := rest.New(p.Platform, nil)
	if err != nil {
		return nil, err
	}
	return serve(rest.NewServer("", h))
}

// posts creates runs with clients that keep their connections.
func (b *Bench) posts(address string) ([]float64, error) {
	body, err := json.Marshal(map[string]string{"prompt": payload, "title": request().Title})
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: createClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	perSecond, err := clients(createClients, b.Duration, func(int) error {
		req, err := http.NewRequest("POST", "http://"+address+"/api/v1/agent/runs", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+apiKey)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		err = errors.Join(err, resp.Body.Close())
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("HTTP %d: %s", resp.StatusCode, answer)
		}
		return err
	})
	return []float64{perSecond}, err
}
