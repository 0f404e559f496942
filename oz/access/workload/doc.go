// Package workload makes identity tokens for runs: short-lived JSON web tokens
// that say which run shows them, for whom, and which a cloud or any other
// service checks against the issuer's public keys (OpenID Connect Discovery
// 1.0; ES256). So a run reaches a cloud without a key of that cloud being kept
// anywhere.
//
// All servers on one store share the keys. A new one is published a day before
// it signs, and takes over after [KeyLife]; an old one stays published for as
// long as its last token may be used and a day more, for those who keep what
// they have read. Private keys are kept sealed.
//
// The package knows nothing of runs: package oz says what a token claims, and to
// whom one is given.
package workload
