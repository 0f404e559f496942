// Package house holds the rules of this module's structure, as tests: which
// package may import which, what an embedder links, and what no package does.
package house
