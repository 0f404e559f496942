// Package slacksim plays Slack, so that automations can be tested with
// `go test`: a Workspace has people, channels and threads, sends signed events,
// slash commands and pressed buttons, and answers the methods that an app
// calls. It judges what it is sent as Slack does: tokens, kinds of body, limits
// of blocks and buttons, and who may change what. It can be down, slow, over its
// limits, or lose the answer to what it has done.
package slacksim
