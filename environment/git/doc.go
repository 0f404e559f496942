// Package git runs the git command line for a platform that does not trust the
// repositories it works on.
//
//	g, err := git.Open(ctx, nil)
//	...
//	defer g.Close()
//	sha, err := g.Commit(ctx, dir, "Fix the parser")
//	res, err := g.Push(ctx, dir, "https://example.com/team/app", sha, "oz/fix-parser")
//
// # Hardening
//
// No git process started here prompts, opens an editor or a pager, runs a hook,
// a file-system monitor, a filter driver, a signature check or an external diff,
// reads the system's or the user's configuration, or speaks a protocol other than
// https, http, ssh, git and file. Settings are given at command scope, which the
// configuration inside a repository cannot override. Large File Storage is
// off: such files stay the small pointers they are in history.
//
// A process that holds credentials never reads the configuration of a
// repository that others could have written to: Push and the remote queries
// work from an empty git directory of their own that only borrows the
// repository's objects. Clone, Fetch and the checkouts do use the repository they
// are given; they are meant for one that this package has just made.
//
// Credentials come from Options.Credentials, one host at a time, or from
// Options.CredentialsFor, and reach git through a credential helper that reads
// the environment of the git process alone: they are never in a URL, an argument list, a file or an error.
//
// # Errors
//
// A failed command is an *Error with git's own words, scrubbed of credentials,
// and a Reason to decide by.
//
// # Concurrency
//
// A Git is safe for concurrent use. Two writers in one repository are git's
// own business: the second fails on git's lock file.
//
// # Limits
//
// Git 2.32 or newer, on a Unix system. Every command has a time limit and a
// limit of output (Options). On Linux a command also ends when the process that
// started it dies.
package git
