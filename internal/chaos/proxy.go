package chaos

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// proxy is what stands between everybody and the servers. It passes bytes to
// one of its backends, chosen anew for each connection, and breaks connections
// when told.
type proxy struct {
	ln       net.Listener
	backends []string
	group    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	pairs  map[*pair]struct{}
	refuse int // connections to drop as they come
	next   int // backend of the next connection
}

// pair is a connection and its other side.
type pair struct {
	client, server net.Conn

	mu     sync.Mutex
	budget int // bytes until it breaks; below 0: it does not
}

func startProxy(backends []string) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &proxy{ln: ln, backends: backends, pairs: map[*pair]struct{}{}}
	p.group.Go(p.accept)
	return p, nil
}

func (p *proxy) url() string { return "http://" + p.ln.Addr().String() }

// close ends all connections and waits for them.
func (p *proxy) close() error {
	p.mu.Lock()
	p.closed = true
	for c := range p.pairs {
		c.drop()
	}
	p.mu.Unlock()
	err := p.ln.Close()
	p.group.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *proxy) accept() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(conn) })
	}
}

func (p *proxy) serve(client net.Conn) {
	server := p.dial()
	if server == nil {
		reset(client)
		return
	}
	c := &pair{client: client, server: server, budget: -1}
	if !p.add(c) {
		c.drop()
		return
	}
	defer p.remove(c)
	var both sync.WaitGroup
	both.Go(func() { c.pump(server, client) })
	both.Go(func() { c.pump(client, server) })
	both.Wait()
}

// dial connects to a backend that answers; nil when none does, or when the
// connection is to be refused.
func (p *proxy) dial() net.Conn {
	p.mu.Lock()
	refused := p.refuse > 0
	if refused {
		p.refuse--
	}
	p.next++
	first := p.next
	p.mu.Unlock()
	if refused {
		return nil
	}
	for i := range p.backends {
		conn, err := net.DialTimeout("tcp", p.backends[(first+i)%len(p.backends)], time.Second)
		if err == nil {
			return conn
		}
	}
	return nil
}

func (p *proxy) add(c *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.pairs[c] = struct{}{}
	}
	return !p.closed
}

func (p *proxy) remove(c *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, c)
}

// cut lets up to n connections break, each after less than bytes more, and
// refuses a few new ones. It reports how many there were to break.
func (p *proxy) cut(rnd *rand.Rand, n, bytes int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	cut := 0
	for c := range p.pairs { // in no order, which is as good as at random
		if cut == n {
			break
		}
		c.limit(rnd.IntN(bytes))
		cut++
	}
	p.refuse += rnd.IntN(3)
	return cut
}

// heal lets all connections that are left live on.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = 0
	for c := range p.pairs {
		c.limit(-1)
	}
}

func (c *pair) limit(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = bytes
}

// take says how many of n bytes may still pass.
func (c *pair) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.budget < 0 {
		return n
	}
	n = min(n, c.budget)
	c.budget -= n
	return n
}

// pump passes bytes on until either side ends or the budget is used up. An
// orderly end of one side is passed on as one.
func (c *pair) pump(to, from net.Conn) {
	buf := make([]byte, 4<<10) // small, so that a budget cuts within an answer
	for {
		n, err := from.Read(buf)
		if m := c.take(n); m < n {
			_, _ = to.Write(buf[:m])
			c.drop()
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				c.drop()
				return
			}
		}
		if err != nil {
			_ = to.(*net.TCPConn).CloseWrite()
			if !errors.Is(err, io.EOF) {
				c.drop()
			}
			return
		}
	}
}

// drop resets both sides.
func (c *pair) drop() {
	reset(c.client)
	reset(c.server)
}

// reset closes a connection in the way of a machine that is gone.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}
