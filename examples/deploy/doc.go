// Package deploy holds recipes for the three ways to run agents, and the tests
// that run them. See README.md.
package deploy
