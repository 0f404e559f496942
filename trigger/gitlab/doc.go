// Package gitlab lets people start and steer runs from GitLab, on gitlab.com or
// a server of one's own. Whoever writes a bot's handle in a new comment on an
// issue or a merge request, or in the text of a new one, starts a run about it,
// or speaks to the one that is there. Automations start runs when something
// happens in a project (see Automation). The run answers where it was asked: a
// status comment that is edited as the run goes on, with the agent's task list,
// a comment with the result in the same thread, and, where Settings ask for it, a status of the commit.
//
// An integration speaks to GitLab with a personal, project or group access
// token with the scope api (secret "token"). GitLab proves its webhooks by the
// secret "signing_secret": a secret token, which it sends as it is, or a
// signing token, which begins with whsec_. The webhook needs the events
// Comments, Issues, Merge requests and, for automations that wait for them,
// Pipelines.
//
// The runs' git reads and pushes with the same token, unless
// Settings.NoGitAccess; it is lent for each use, and to no run that nobody
// vouches for. Their merge requests are opened in the integration's name, too
// (see Origin.OpenPullRequest). With Settings.LendToAllRuns all runs of the
// integration's owner borrow it, wherever they come from.
//
// A run has the project's repository in its workspace beside those of its
// environment, at the newest commit of the merge request or pipeline, unless
// Settings.NoClone. What a fork changes is a stranger's: it is checked out where
// there are no secrets, and else left to the agent, which is told so.
//
// What people on GitLab write is data. Only the words of somebody whom the
// integration admits are a request; all else reaches the agent in files that
// say so. What access tokens' accounts write, what this integration itself
// wrote, edits, titles and what GitLab notes by itself start nothing.
//
// Package gitlabsim plays GitLab in tests.
package gitlab
