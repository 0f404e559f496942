// Package linear lets people in Linear start runs: by mentioning the agent in
// an issue or a comment, by assigning or delegating an issue to it, and by what
// rules say about labels, states and the rest. What becomes of the run is said
// there.
//
// An integration needs two secrets: "signing_secret", which Linear shows with
// the webhook, and "token", an OAuth access token of an app (installed with
// actor=app) or a personal API key. The account behind the token is the agent;
// what it does itself starts nothing. See Settings for the rest.
//
// Where the app has agent sessions, it is spoken to and answers in those, and
// their plan is the agent's task list; their webhook category is "Agent session
// events". Else it answers in comments.
//
// People are known by their e-mail address: whoever of the team has the same one
// is who asks, unless Settings.NoEmailMatch. A link counts before that. Whoever is
// known in neither way is sent an address to link their account with, but only
// in an agent session, which can show something to one person alone; in
// comments everybody could follow it, so there they are sent to an
// administrator.
package linear
