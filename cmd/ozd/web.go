package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/web"
)

// pages makes the web app; nil when it is left out.
func (s *server) pages() (http.Handler, error) {
	if s.config.NoWeb {
		return nil, nil
	}
	o := &web.Options{}
	if public, err := url.Parse(s.config.PublicURL); err == nil {
		o.Behind = public.EscapedPath()
	}
	if dir := s.config.WebAssets; dir != "" {
		if _, err := os.Stat(dir + "/index.html"); err != nil {
			return nil, fmt.Errorf("web_assets: %w", err)
		}
		o.Assets = os.DirFS(dir)
	}
	return web.New(o)
}

// webAddress is where the web app is; "" without one. At the first start the
// address signs a browser in: once, and as the admin.
func (s *server) webAddress(ctx context.Context, p *oz.Platform, first bool) (string, error) {
	if s.config.NoWeb {
		return "", nil
	}
	root := strings.TrimRight(cmp.Or(s.config.PublicURL, s.address), "/") + "/"
	if !first {
		return root, nil
	}
	code, err := p.Registry().NewSignInCode(ctx, access.DefaultUser)
	if err != nil {
		return "", fmt.Errorf("sign-in link: %w", err)
	}
	return root + "#sign-in=" + code + " (signs a browser in, once and within an hour)", nil
}
