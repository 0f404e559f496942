// Package githubsim plays the part of GitHub that integrations speak to, so that
// automations can be tested with `go test`. A Server keeps accounts,
// repositories, issues, pull requests, comments and reactions; what happens to
// them is sent, signed, to its hooks, as GitHub does. What asks it must show a
// token that it gave out and that is still good, or sign as an app, and send
// what GitHub would take. It can be down, refuse with a hint when to come
// again, or lose an answer after doing what was asked: see Server.Fail.
package githubsim
