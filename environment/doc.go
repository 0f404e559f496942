// Package environment is what a run needs around it: the stored Environment
// (image, repositories, setup commands, secret names) and the preparation of a
// workspace from it.
//
//	g, err := git.Open(ctx, nil)
//	...
//	p := environment.NewPreparer(g, nil)
//	ws, err := p.Prepare(ctx, environment.Options{Dir: dir, Config: env.Config})
//	// the agent starts in ws.WorkingDir
//
// # Preparation
//
// Prepare clones all repositories in parallel, each to the directory of its
// name below Options.Dir, and then runs the setup commands in their order, each
// in a fresh shell (bash, or sh where there is none) that starts in the working
// directory: inside the repository if there is exactly one, at the top
// otherwise. So neither a "cd" nor an exported variable reaches the next
// command; what must last belongs in a file, such as ~/.profile. Commands see
// CI=true and the run's secrets, read nothing from standard input, and must be
// idempotent. A process that a command leaves in the background lives on, but
// loses its output unless it was redirected.
//
// A directory that already has the name of a repository is used as it is. An
// empty repository is no failure: its directory starts on an unborn branch.
// Without Repo.Ref the default branch is checked out, with it HEAD is detached.
//
// Prepare may be killed at any instruction and called again: repositories
// appear under their name only when they are whole, finished commands are not
// run again, an interrupted one is (after what it left running was killed, on
// Linux), and a prepared workspace returns at once. What it has done stands in
// Options.Dir/.oz.
//
// # Kept states
//
// With Options.Keep the workspace is one that runs start from, as a copy at the
// same path. Keep goes without secrets, and its Git should have no credentials,
// so that none can be in it. The Prepare of a run asks each remote with the
// run's own credentials, fetches what is new, and runs the setup commands again
// if a repository stands at another commit, if the run has secrets, or if it
// brings back earlier work; otherwise they are done. Setup commands had the
// repositories in hand, so none of their configuration and hooks is used beside
// credentials. A state that cannot be used is removed, and the workspace
// prepared as if there had been none.
//
// # The cache
//
// A Cache keeps bare mirrors and finished checkouts ("spares") on a disk that
// runs share. Prepare takes a spare by renaming it, which costs nothing however
// large the repository is; Refill, called beside the agent's work, brings the
// mirror up to date and lays out the next one. Nothing in a workspace refers to
// the cache, so it may be deleted at any time. Prepare asks the remote with the
// run's own credentials before it touches the cache, and entries are separate
// for each owner, so the cache opens no repository that the remote would not.
// It cannot protect against a process that may write to its directory: give
// sandboxes of different owners different caches, or mount it for the
// preparation only.
//
// # Errors
//
// What the user can mend is a *task.Error: task.CodeInvalidRequest from
// Config.Validate and Store, task.CodeEnvironmentSetupFailed from Prepare.
// When the context ends, Prepare returns its cause instead.
//
// # Concurrency
//
// Store, Preparer and Cache are safe for concurrent use, Cache also from
// several processes. Two Prepare calls on one directory follow one another.
//
// # Limits
//
// The constants of this package. Made for Linux. Other Unix systems kill a
// command's process group, but not what has left it; Windows only compiles.
package environment
