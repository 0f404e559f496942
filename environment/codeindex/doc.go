// Package codeindex finds code by words: an index of the files that git tracks
// in one repository at one commit (Oz platform, CTX-1 to CTX-3).
//
//	r := codeindex.Open(repo, &codeindex.Options{Dir: cache})
//	go r.Prepare(ctx)
//	...
//	hits, err := r.Search(ctx, "where is the retry delay computed", 10)
//
// # How it searches
//
// The index has, for each run of three characters, the files that have it. It
// says which files may have the words of a query; those are read, so that what
// is found is what the files say now, whatever the index says. Lines that
// define a name come before lines that use it, rare words count more than
// common ones, and a file whose path has a word comes earlier.
//
// # Being up to date
//
// An index is kept in Options.Dir by repository and commit, and used by all
// runs. What was changed since its commit, in later commits or in the working
// tree, is searched beside it; when that is more than a few hundred files a new
// index is built. A file of the cache that is torn or was tampered with is built
// anew; it can hide a file from a search, and show none that is outside the
// repository.
//
// # Limits
//
// See MaxFiles, MaxBytes and MaxFileBytes. A repository beyond them has the
// state TooLarge.
package codeindex
