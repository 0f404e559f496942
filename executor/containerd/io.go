//go:build linux

package containerd

import (
	"io"
	"sync"
)

// discard takes what nobody wants.
var discard io.Writer = io.Discard

// endReader tells when all is read.
type endReader struct {
	r    io.Reader
	once sync.Once
	end  chan struct{}
}

// Read implements io.Reader.
func (e *endReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil {
		e.once.Do(func() { close(e.end) })
	}
	return n, err
}
