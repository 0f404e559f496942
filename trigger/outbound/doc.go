// Package outbound tells other programs what happens to runs: a Subscription
// has an address that gets a signed request for each change of state, as
// Standard Webhooks has it (https://www.standardwebhooks.com).
//
// What is to be sent is written down first. It arrives at least once, and in
// order for each run; webhook-id is the same at every attempt, so that a
// receiver can tell repeats. An address that does not answer is tried for days,
// and what could not be delivered stays, to be sent again by hand. Addresses
// within private networks are refused when the connection is made, whatever a
// name resolves to, unless the operator allows them.
package outbound
