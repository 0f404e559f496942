// Package webhook starts runs from HTTP requests that anybody can be told to
// send: a Hook has an address, a way to prove who sends, a filter, and what to
// run.
//
// Who sends proves it with a token in a header, with a secret in the address,
// or by signing what they send as GitHub, GitLab, Stripe, Sentry, PagerDuty,
// Vercel, Slack, Linear or Standard Webhooks do. Everything that arrives leaves
// a line; what came before is known and starts nothing.
//
// The payload reaches the agent as a file, labelled as what it is: data from
// outside.
package webhook
