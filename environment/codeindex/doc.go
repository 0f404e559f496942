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
// # Meaning
//
// With Options.Embeddings, Embed sends pieces of the tracked files to an
// endpoint for embeddings, of the form of OpenAI's, and Find finds places that
// have to do with a query and none of its words. The two lists are merged by
// their ranks. A piece is sent once: vectors are kept in Options.Dir by model
// and by a hash of what was sent. What was changed since is found by its words.
//
// Nothing is sent of files that git does not track, that an ignore file names,
// that are no text or larger than MaxPieceFileBytes, that are called like files
// of secrets or have text like one, or that Embeddings.Hide refuses; nor of
// queries that look like secrets. When the endpoint is away, slow or answers
// with something else than it should, Find finds by words and says why.
//
//	r := codeindex.Open(repo, &codeindex.Options{Dir: cache, Embeddings: &codeindex.Embeddings{
//		URL: "http://127.0.0.1:8080/v1/embeddings", Model: "text-embedding-3-small"}})
//	go func() { _, _ = r.Prepare(ctx), r.Embed(ctx) }()
//	...
//	found, err := r.Find(ctx, "where do customers get their money back", 10)
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
// See MaxFiles, MaxBytes and MaxFileBytes, and for embeddings MaxPieces,
// MaxPieceFileBytes, MaxDimensions and Embeddings.MaxBytes. A repository beyond them has the
// state TooLarge.
package codeindex
