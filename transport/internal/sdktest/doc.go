// Package sdktest holds the tests that run published clients of the Oz API,
// unchanged, against this server. It exports nothing.
package sdktest
