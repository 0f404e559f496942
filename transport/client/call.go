package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Call sends a request to an operation by its path below the API's address,
// with its parts escaped already, such as /agent/runs?limit=1. It is the way to
// operations and members that this package has no method for: the body, unless
// it is nil, is sent as JSON, and the answer is given as it came; nil when
// there is none. Retries and errors are those of every other method.
func (c *Client) Call(ctx context.Context, method, path string, q url.Values, body any) (json.RawMessage, error) {
	req, err := c.request(ctx, method, path, q, body)
	if err != nil {
		return nil, err
	}
	for _, edit := range c.raw.RequestEditors {
		if err := edit(ctx, req); err != nil {
			return nil, err
		}
	}
	data, err := read(c.raw.Client.Do(req))
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return nil, err
	}
	if !json.Valid(data) {
		return nil, fmt.Errorf("%s %s: the server's answer is no JSON", method, path)
	}
	return data, nil
}

func (c *Client) request(ctx context.Context, method, path string, q url.Values, body any) (*http.Request, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/"+strings.TrimPrefix(path, "/"), bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s is no path of the API", path)
	}
	if len(q) > 0 {
		req.URL.RawQuery = q.Encode()
	}
	if body == nil {
		req.Body, req.GetBody, req.ContentLength = http.NoBody, nil, 0
		return req, nil
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}
