// Package github lets people start and steer runs from GitHub. Whoever writes
// a bot's handle in a new comment on an issue or a pull request, in a review
// comment, or in the body of a new pull request starts a run about it, or
// speaks to the one that is there. Automations start runs when something
// happens in a repository (see Automation). The run answers where it was asked:
// a status comment that is edited as the run goes on, with the agent's task list,
// and a comment with the result.
//
// An integration speaks to GitHub as a bot's account (secret "token") or as an
// app (secret "private_key", and the app's and the installation's numbers in
// Settings). GitHub signs what it sends with the secret "signing_secret".
//
// The runs' git reads and pushes with the same token, unless Settings.NoGitAccess:
// what an app is installed on is what its runs reach. It is lent for each use,
// and to no run that nobody vouches for. Their pull requests are opened in the
// integration's name, too, for which an app needs the permission "Pull requests:
// read and write" (see Origin.OpenPullRequest). With Settings.LendToAllRuns all
// runs of the integration's owner borrow it, wherever they come from.
//
// A run has the event's repository in its workspace beside those of its
// environment, at the head of the pull request or the commit of the check, unless
// Settings.NoClone. What a fork changes is a stranger's: it is checked out where
// there are no secrets, and else left to the agent, which is told so.
//
// With Settings.CheckRuns a run about a pull request, a suite of checks or a
// workflow also has a check run on the commit that it began with: queued, in
// progress, and in the end a success, a failure, cancelled, or waiting for an
// action. Only apps with the permission "Checks: read and write" may make them;
// else the messages are given up with a reason that says so, and all else goes
// on. What the app's own checks set off starts nothing.
//
// What an app's webhook could not be given, as while the server was down, is
// found in GitHub's list of deliveries and sent again at the origin's request
// (see Origin.Run, which the Engine calls): for up to three days, less and less
// often, and never what was refused for what it is. It is taken as any other
// delivery, and once. With an account's token the same is done at the webhooks of
// the repositories and organisations that Settings.Repositories names, as
// "owner/name" and "owner/*", if the account administers them (scopes
// read:repo_hook, admin:org_hook, and write:repo_hook to have things sent
// again). Webhooks with another address than the integration's are left alone.
// The first search goes back an hour.
//
// What people on GitHub write is data. Only the words of somebody whom the
// integration admits are a request; all else reaches the agent in files that
// say so. What bots write, what this integration itself wrote, edits and
// titles start nothing.
//
// Package githubsim plays GitHub in tests.
package github
