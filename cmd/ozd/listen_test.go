package main

import (
	"context"
	"net"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// TestListenWaitsForAPredecessor: an address that is in use for a moment more
// is no obstacle, and one that stays in use is.
func TestListenWaitsForAPredecessor(t *testing.T) {
	before, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	address := before.Addr().String()
	_, err = listen(t.Context(), address)
	assert.ErrorContains(t, err, "is in use, perhaps by another ozd")

	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, err = listen(stopped, address)
	assert.ErrorIs(t, err, context.Canceled)

	time.AfterFunc(inheritTime/20, func() { _ = before.Close() })
	ln, err := listen(t.Context(), address)
	assert.NilError(t, err)
	assert.NilError(t, ln.Close())
}
