package chaos

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // ends with the connection
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); group.Wait() })
	return ln.Addr().String()
}

// exchange sends text and gives what comes back until the end.
func exchange(t *testing.T, conn net.Conn, text []byte) []byte {
	t.Helper()
	_, _ = conn.Write(text) // a broken connection shows in what comes back
	_ = conn.(*net.TCPConn).CloseWrite()
	got, _ := io.ReadAll(conn)
	return got
}

func TestProxyPassesCutsAndRefuses(t *testing.T) {
	p, err := startProxy([]string{"127.0.0.1:1", echo(t)}) // nobody listens at the first
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, p.close()) })
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", p.ln.Addr().String())
		assert.NilError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	text := bytes.Repeat([]byte("0123456789"), 20_000)
	assert.Assert(t, bytes.Equal(exchange(t, dial(), text), text), "what is not cut passes whole")

	conn := dial()
	_, err = conn.Write([]byte("x"))
	assert.NilError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1)) // the pair exists
	assert.NilError(t, err)
	rnd := rand.New(rand.NewPCG(1, 1))
	assert.Equal(t, p.cut(rnd, 5, 1000), 1)
	assert.Assert(t, len(exchange(t, conn, text)) < 1000, "what is cut breaks off")

	p.mu.Lock()
	p.refuse = 1
	p.mu.Unlock()
	// The reset may come before Dial has looked at its new connection.
	if conn, err := net.Dial("tcp", p.ln.Addr().String()); err == nil {
		defer conn.Close()
		assert.Equal(t, len(exchange(t, conn, text)), 0, "refused")
	}
	assert.Assert(t, bytes.Equal(exchange(t, dial(), text), text), "once")
}
