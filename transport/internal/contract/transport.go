package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

func decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("the body is no JSON: %w", err)
	}
	return nil
}

// Handler serves as next does, and holds every answer of JSON against the
// contract. report is told the differences, before the request is over; it
// must be safe for concurrent use. Streams and files pass as they are.
func (c *Contract) Handler(next http.Handler, report func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k := &keeper{ResponseWriter: w}
		asked := r.Clone(r.Context()) // next may change its own
		next.ServeHTTP(k, r)
		if k.status == 0 {
			k.status = http.StatusOK
		}
		if k.failed || r.Method == http.MethodOptions {
			return
		}
		if err := c.Check(asked, k.status, w.Header(), k.body.Bytes()); err != nil {
			report(err)
		}
	})
}

// keeper keeps a copy of what is written, if it is JSON.
type keeper struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	failed bool // the client did not get all of it
}

// Unwrap lets http.ResponseController reach the connection.
func (k *keeper) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (k *keeper) WriteHeader(status int) {
	if k.status == 0 && status >= http.StatusOK {
		k.status = status
	}
	k.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (k *keeper) Write(p []byte) (int, error) {
	if k.status == 0 {
		k.status = http.StatusOK
	}
	if isJSON(k.Header()) {
		k.body.Write(p)
	}
	n, err := k.ResponseWriter.Write(p)
	k.failed = k.failed || err != nil
	return n, err
}
