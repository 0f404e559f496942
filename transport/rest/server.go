package rest

import (
	"net/http"
	"time"
)

// Time limits of NewServer. There is none for writing: streams last as long as
// their runs, and bound each write by themselves.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 5 * time.Minute // a body of MaxCreateBytes at 2 Mbit/s
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// NewServer returns an HTTP server for handler with limits that fit it. Its
// Shutdown ends the streams of a Handler; if handler wraps one, register the
// Handler's Stop with RegisterOnShutdown.
func NewServer(addr string, handler http.Handler) *http.Server {
	s := &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	if h, ok := handler.(*Handler); ok {
		s.RegisterOnShutdown(h.Stop)
	}
	return s
}
