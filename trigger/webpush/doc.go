// Package webpush wakes browsers: it sends short messages to the push services
// of their makers, encrypted for the browser (RFC 8291) and signed with the
// server's own key (VAPID, RFC 8292).
//
// The server's key is made at its first use and kept sealed. A browser's
// subscription belongs to one person; its address and keys let anybody who has
// them wake the browser, so that they are kept sealed as well and never shown.
// A push service that says that a subscription is gone has it removed. Addresses
// within private networks are refused when the connection is made, whatever a
// name resolves to, unless the operator allows them.
//
// Everything comes from the standard library: embedders link nothing more.
package webpush
