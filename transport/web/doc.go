// Package web is the web app: pages to start, watch and steer runs with a
// browser, over the HTTP API that package rest serves.
//
// The pages are plain JavaScript modules and one style sheet, embedded as they
// are written: there is no build step, what is in assets is what a browser
// gets. Preact (with htm in the place of JSX) draws them; marked reads
// Markdown, into nodes and never into HTML. The libraries are unmodified
// copies from npm, in assets/lib, which go generate checks and renews.
//
// A Go service mounts the app below any path of its own, beside the API:
//
//	pages, err := web.New(&web.Options{Prefix: "/agents"})
//	api, err := rest.New(platform, &rest.Options{Pages: pages})
//	mux.Handle("/api/v1/", api)
//	mux.Handle("/agents/", api)
//
// People sign in with an API key, the link that the server prints at its first
// start, or at the identity provider of rest.Options.SignIn; what the browser
// keeps is a cookie that no script can read. To work on the pages, start ozd
// with --web-assets transport/web/assets and reload.
//
// Nothing that an agent or a stranger has written can act in a page: texts
// become text nodes, links lead to http, https and mailto only, and the content
// security policy forbids inline scripts, foreign scripts, frames and HTML made
// of strings (Trusted Types).
package web

//go:generate go run ./internal/vendorjs
