package client_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestTenThousandEventsAThousandCuts follows a log of 10,000 events while they
// are written, over a connection that is cut 1,000 times at random places, also
// within events, by a network and by a server that goes away: no event is
// missing, none comes twice, and all are in order.
func TestTenThousandEventsAThousandCuts(t *testing.T) {
	const events, cuts, restarts = 10_000, 1_000, 10
	e := transporttest.Start(t, patient())
	id, link := begin(t, e)
	written := make(chan error, 1)
	go func() {
		for i := 0; i < events; i += 100 {
			if err := link.Append(t.Context(), int64(i), notices(i, i+100)); err != nil {
				written <- err
				return
			}
		}
		written <- finish(t.Context(), link)
	}()

	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	done, stopped := 0, 0
	p := transporttest.StartProxy(t, e.URL, func(_ int, r *http.Request) transporttest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if done == cuts || !strings.HasSuffix(r.URL.Path, "/events") {
			return transporttest.Fault{}
		}
		done++
		if done%(cuts/restarts) == 0 { // the server goes away, and with it every connection
			e.Down()
			e.Up()
			stopped++
		}
		switch random.IntN(10) {
		case 0:
			return transporttest.Fault{Refuse: true}
		case 1:
			return transporttest.Fault{Status: 502}
		}
		return transporttest.Fault{CutAfter: 1 + random.IntN(4000)}
	})
	next := 0
	last := gapless(t, connect(t, p.URL), id, func(event task.Event) {
		if n, ok := event.Payload.(*task.Notice); ok {
			assert.Equal(t, n.Text, fmt.Sprintf("notice %d", next))
			next++
		}
	})
	assert.NilError(t, <-written)
	assert.Equal(t, next, events)
	final, err := e.Platform.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, last, final.LastSeq)
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, stopped, restarts, strconv.Itoa(done)+" connections were cut")
	assert.Equal(t, done, cuts)
}
