// Package jira lets people in Jira Cloud start runs by adding a label to an
// issue, and says there what becomes of them (Oz platform, JIR-1 to JIR-3). A
// comment that mentions the agent's account goes on with the run; adding the
// label again does so, too, or starts anew what could not be started.
//
// Jira Cloud proves its webhooks in two ways, and both are taken. One that an
// administrator makes has a secret: Jira signs the body with it, in
// X-Hub-Signature. One that an OAuth 2.0 app registers brings a JWT in
// Authorization, signed with the app's client secret; it says nothing of the
// body, so that the first way is the better one. Jira signs no time of sending:
// an event that is older than a day is refused, and a younger one is known
// again.
//
// The integration's secret "signing_secret" is that of the webhook or the app,
// "token" an API token together with Settings.Email, or an OAuth access token.
// The account behind the token is the agent: what it does itself starts
// nothing, so it should be nobody's own.
//
// Whoever is not linked is told so in a comment, and gets the address for it by
// an e-mail that Jira sends to them alone: in a comment everybody could follow
// it.
package jira
