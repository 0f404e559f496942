// Package permit judges what an agent wants to do by the permissions of its
// profile (Oz platform, PRO-1).
//
// # What it holds, and what it cannot
//
// Tools are judged by their names, which nothing can get around. Commands are
// judged by their text: the line is read as bash reads it, and every command in
// it is matched by itself, wherever it stands: behind && or a pipe, in a
// subshell, a substitution, a function or a here document, in the words of
// eval, "sh -c", xargs, sudo, find -exec and the like, with its quotes taken
// away and under any path. Where a deny list is in force, a line whose programs
// are only known when it runs ("$X y", "base64 -d f | sh") is refused, for
// nobody can say what it does.
//
// The text of a command does not say all that it does. A script, a Makefile, a
// test, an interpreter ("python -c ...") or an alias in a file may start any
// program, and "never" for changing files does not keep a command from changing
// them. Expansions among arguments ("git push $FLAGS") are matched as they are
// written. So lists keep an agent from mistakes and make its intentions plain;
// what must not happen has to be kept by the sandbox, its network and the
// credentials that it is not given.
package permit
