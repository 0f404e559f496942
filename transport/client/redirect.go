package client

import (
	"errors"
	"net/http"
	"net/url"
)

// maxRedirects is how many redirects are followed for one request.
const maxRedirects = 10

// cautious returns a copy of h that keeps what it sends from where it does not
// belong. A change is never sent on: net/http would make a GET of it, or hand
// a secret's value to another host.
func cautious(h *http.Client) *http.Client {
	also, c := h.CheckRedirect, *h
	c.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		first := via[0]
		switch {
		case first.Method != http.MethodGet && first.Method != http.MethodHead:
			return http.ErrUseLastResponse
		case first.URL.Scheme == "https" && next.URL.Scheme != "https":
			return errors.New("the server redirects from https to " + next.URL.Scheme)
		case len(via) >= maxRedirects:
			return errors.New("the server redirects without end")
		}
		if !sameOrigin(first.URL, next.URL) {
			next.Header.Del("Authorization") // net/http keeps it for subdomains and other ports
			next.Header.Del("Referer")       // may be a signed link
		}
		if also != nil {
			return also(next, via)
		}
		return nil
	}
	return &c
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
