// Package slack lets people start runs from Slack and hear of them there. A
// mention of the app, a direct message or a slash command starts a run; what is
// said in its thread goes on with it; one status message, which shows the
// agent's task list as it goes on and has a button to stop it, questions with
// buttons and the result are posted there.
//
// One address, /webhooks/slack/<uid>, takes all that Slack sends: events,
// interactions and slash commands. Each is checked by its signature, stored and
// answered; what it means is found out after that, so that Slack never waits
// for more than a write. A plain reply waits for what was said in its thread
// before and is not decided yet: that may make the run which the reply is for.
//
// The app needs the bot scopes app_mentions:read, chat:write, users:read and
// commands, and im:history, im:write, channels:history, groups:history,
// reactions:write, users:read.email for threads, direct messages, reactions and
// addresses of e-mail. Its events are app_mention, message.im, and, for replies
// without a mention, message.channels and message.groups; app_uninstalled
// switches the integration off.
//
// What is sent twice by a crash is found by a mark in the message's metadata,
// and not posted again. Slack's rate limits are kept: a message waits for as
// long as Slack says.
//
// The package speaks to Slack in plain HTTP: it needs seven methods, each with
// one shape, and the answer's headers and error names to tell what to try again.
// Package slacksim plays Slack in tests.
package slack
