// What it takes to connect each service: steps, secrets, and the settings that
// are its own (trigger/*/settings.go).

const signing = (where) => ({ name: 'signing_secret', label: 'Signing secret', hint: where });

const any = /./, thing = /^(issue|pull_request|merge_request)_/;

// providers by name. secrets: [{name, label, hint, many}]; settings: [{name,
// label, hint, type: 'text', 'number', 'lines' or 'check', required, placeholder}].
// before and after: steps to take before it is made here and after, where the
// address is known. rules: what starts runs by itself (automations.js): kinds of
// event, and filters as [name, label, example, kinds that have it].
export const providers = {
  github: {
    name: 'GitHub', what: 'Mention a bot in issues, pull requests and reviews; start runs by labels, checks and more.',
    before: ['Make an account for the bot, or a GitHub App, and give it access to the repositories that agents may work on.', 'For an account: make a token with access to contents, issues and pull requests. For an app: download a private key, and note the numbers of the app and of its installation.', 'Think of a long random text: the signing secret of the webhook.'],
    after: ['In the repository, organisation or app, open Settings, Webhooks, Add webhook.', 'Payload URL: the address above. Content type: application/json. Secret: the signing secret.', 'Events: issues, issue comments, pull requests, pull request reviews and review comments; check suites and workflow runs for automations.', 'Write a comment that mentions the bot: the delivery appears below.'],
    secrets: [signing('What you typed as the webhook\'s secret.'), { name: 'token', label: 'Token of the account', hint: 'Or the private key of an app.' }, { name: 'private_key', label: 'Private key of the app', hint: 'The whole PEM file.', many: true }],
    settings: [{ name: 'handle', label: 'Handle', type: 'text', required: true, placeholder: 'oz-bot', hint: 'What people write after the @.' }, { name: 'app_id', label: 'App ID', type: 'number' }, { name: 'installation_id', label: 'Installation ID', type: 'number' },
      { name: 'repositories', label: 'Repositories', type: 'lines', placeholder: 'acme/*', hint: 'Only in these, one a line; * stands for any part of a name. Empty: everywhere.' }, { name: 'ignore_mentions', label: 'Leave mentions to automations', type: 'check' }, { name: 'check_runs', label: 'Show runs as checks', type: 'check', hint: 'On the commit of a pull request. It takes an app with the permission Checks: read and write.' }, { name: 'no_git_access', label: 'Keep the token from git', type: 'check', hint: 'Runs then clone and push with the server\'s own credentials. They open no pull requests.' }, { name: 'lend_to_all_runs', label: 'Lend the token to all runs', type: 'check', hint: 'Also to those that people, schedules and other triggers of the team start, in the repositories above: they push with it and open pull requests.' }, { name: 'no_clone', label: 'Clone what the environment has, no more', type: 'check', hint: 'Else a run also has the repository that its event is from.' }],
    rules: {
      field: 'automations', title: 'Automations', what: 'an automation', noun: 'Automation', teaches: 'Runs that start by themselves: an issue gets a label, a pull request opens, a check fails.',
      only: 'Every list that is filled must fit, each by any of its lines. * stands for any part of a name.', json: 'A list of {name, on, filter, prompt, agent_uid, join, quiet, disabled}.',
      kinds: [['issue_created', 'Issue created'], ['issue_labeled', 'Issue labelled'], ['issue_mentioned', 'Bot mentioned in an issue'], ['issue_assigned', 'Issue assigned'], ['pull_request_opened', 'Pull request opened'], ['pull_request_ready', 'Pull request ready for review'], ['pull_request_closed', 'Pull request closed, not merged'], ['pull_request_merged', 'Pull request merged'], ['pull_request_mentioned', 'Bot mentioned in a pull request'], ['pull_request_assigned', 'Pull request assigned'], ['pull_request_review_requested', 'Review requested'], ['check_suite_completed', 'Checks completed'], ['workflow_run_completed', 'Workflow completed']],
      filters: [['repos', 'In repositories', 'acme/*', any], ['labels', 'Labels', 'bug', thing], ['branches', 'Branches', 'feature/*', /^(pull_|check_|workflow_)/], ['base_branches', 'Into branches', 'main', /^pull_/], ['assignees', 'Assigned to', 'octocat', thing], ['reviewers', 'Reviewers', 'octocat', /^pull_/], ['reviewer_teams', 'Reviewing teams', 'platform', /^pull_/], ['mentioned', 'Mentioned', 'oz-bot', thing], ['workflows', 'Workflows', 'ci.yml', /^workflow_/], ['conclusions', 'Conclusions', 'failure', /^(check_|workflow_)/]],
    },
  },
  gitlab: {
    name: 'GitLab', what: 'Mention a bot in issues and merge requests, on gitlab.com or your own server; start runs by labels, pipelines and more.',
    before: ['Make an account for the bot, or a project or group access token, and give it access to the projects that agents may work on.', 'Make a token with the scope api.', 'Think of a long random text: the secret token of the webhook.'],
    after: ['In the project or group, open Settings, Webhooks, Add new webhook.', 'URL: the address above. Secret token: the signing secret; a signing token that GitLab makes (whsec_…) is better.', 'Events: Comments, Issues, Merge requests; Pipelines for automations that wait for them.', 'Write a comment that mentions the bot: the delivery appears below.'],
    secrets: [signing('The secret token or the signing token of the webhook.'), { name: 'token', label: 'Access token', hint: 'Personal, project or group, with the scope api.' }],
    settings: [{ name: 'url', label: 'Server', type: 'text', placeholder: 'https://gitlab.com' }, { name: 'handle', label: 'Handle', type: 'text', required: true, placeholder: 'oz-bot', hint: 'What people write after the @.' }, { name: 'projects', label: 'Projects', type: 'lines', placeholder: 'acme/*', hint: 'Only in these, one a line; * stands for any part. Empty: everywhere.' },
      { name: 'ignore_mentions', label: 'Leave mentions to automations', type: 'check' }, { name: 'commit_status', label: 'Give commits a status', type: 'check', hint: 'A project may demand that it is a success before it merges.' }, { name: 'no_git_access', label: 'Keep the token from git', type: 'check', hint: 'Runs then clone and push with the server\'s own credentials. They open no pull requests.' }, { name: 'lend_to_all_runs', label: 'Lend the token to all runs', type: 'check', hint: 'Also to those that people, schedules and other triggers of the team start, in the projects above: they push with it and open merge requests.' }, { name: 'no_clone', label: 'Clone what the environment has, no more', type: 'check', hint: 'Else a run also has the repository that its event is from.' }],
    rules: {
      field: 'automations', title: 'Automations', what: 'an automation', noun: 'Automation', teaches: 'Runs that start by themselves: an issue gets a label, a merge request opens, a pipeline fails.',
      only: 'Every list that is filled must fit, each by any of its lines. * stands for any part of a name.', json: 'A list of {name, on, filter, prompt, agent_uid, join, quiet, disabled}.',
      kinds: [['issue_created', 'Issue created'], ['issue_labeled', 'Issue labelled'], ['issue_mentioned', 'Bot mentioned in an issue'], ['issue_assigned', 'Issue assigned'], ['merge_request_opened', 'Merge request opened'], ['merge_request_reopened', 'Merge request reopened'], ['merge_request_updated', 'Merge request has new commits'], ['merge_request_ready', 'Merge request is no draft any more'], ['merge_request_labeled', 'Merge request labelled'], ['merge_request_closed', 'Merge request closed, not merged'], ['merge_request_merged', 'Merge request merged'], ['merge_request_approved', 'Merge request approved'], ['merge_request_mentioned', 'Bot mentioned in a merge request'], ['merge_request_assigned', 'Merge request assigned'], ['merge_request_review_requested', 'Review requested'], ['pipeline_completed', 'Pipeline completed']],
      filters: [['projects', 'In projects', 'acme/*', any], ['labels', 'Labels', 'bug', thing], ['branches', 'Branches', 'feature/*', /^(merge_|pipeline_)/], ['target_branches', 'Into branches', 'main', /^merge_/], ['assignees', 'Assigned to', 'jane', thing], ['reviewers', 'Reviewers', 'jane', /^merge_/], ['mentioned', 'Mentioned', 'oz-bot', thing], ['statuses', 'Statuses', 'failed', /^pipeline_/]],
    },
  },
  slack: {
    name: 'Slack', what: 'Mention the app in a channel, write to it directly, or use a slash command; answers come in the thread.',
    before: ['At api.slack.com/apps make an app for your workspace.', 'Bot scopes: app_mentions:read, chat:write, users:read, commands; and im:history, im:write, channels:history, groups:history, reactions:write, users:read.email for threads and direct messages.', 'Install it, and note the bot token (xoxb-…) and the signing secret (Basic Information).'],
    after: ['Event Subscriptions: switch them on, and give the address above as request URL. Bot events: app_mention, message.im, app_uninstalled; message.channels and message.groups for replies without a mention.', 'Interactivity: the same address. Slash Commands: make one, with the same address.', 'Invite the app to a channel and mention it: the delivery appears below.'],
    secrets: [signing('Basic Information, App Credentials.'), { name: 'token', label: 'Bot token', hint: 'Begins with xoxb-.' }],
    settings: [{ name: 'team_id', label: 'Workspace ID', type: 'text', placeholder: 'T0123ABCD', hint: 'Events from others are refused.' }, { name: 'app_id', label: 'App ID', type: 'text', placeholder: 'A0123ABCD' }, { name: 'channels', label: 'Channels', type: 'lines', placeholder: 'C0123ABCD', hint: 'IDs, one a line. Empty: all that the app is in.' },
      { name: 'replies_need_mention', label: 'Replies in threads need a mention', type: 'check' }, { name: 'no_direct_messages', label: 'No direct messages', type: 'check' }],
  },
  linear: {
    name: 'Linear', what: 'Mention the agent in an issue, delegate an issue to it, or let rules start runs.',
    before: ['In Linear, Settings, API, make an OAuth application and install it with actor=app; or take a personal API key of an account that is the agent\'s own.'],
    after: ['In the application, or in Settings, API, Webhooks, give the address above. Categories: issues and comments; agent session events, if the app has them.', 'Copy the signing secret that Linear shows, and add it here under Edit.', 'Mention the agent in an issue: the delivery appears below.'],
    secrets: [signing('Linear shows it with the webhook: it may be added after this.'), { name: 'token', label: 'Access token or API key', hint: 'The account behind it is the agent.' }],
    settings: [{ name: 'agent_sessions', label: 'The app has agent sessions', type: 'check', hint: 'Mentions and delegated issues come as those.' }, { name: 'no_email_match', label: 'Everybody must link their account', type: 'check', hint: 'Else whoever has the e-mail address of somebody of the team counts as them.' }],
    rules: {
      field: 'rules', title: 'Rules', what: 'a rule', noun: 'Rule', one: true, teaches: 'What starts runs; one that fits is enough. Without any, a mention of the agent does, and an issue that is assigned to it.',
      only: 'Every list that is filled must fit, each by any of its lines: IDs of Linear (in its command menu: Copy model UUID). "agent" stands for the agent.', json: 'A list of {kind, team_ids, project_ids, label_ids, state_ids, assignee_ids, mentioned_user_ids}.',
      kinds: [['issue_created', 'Issue created'], ['issue_labeled', 'Issue labelled'], ['issue_state_changed', 'State of an issue changed'], ['issue_assigned', 'Issue assigned or delegated'], ['comment_created', 'Comment written'], ['agent_session', 'Agent session']],
      filters: [['team_ids', 'Teams', '', any], ['project_ids', 'Projects', '', any], ['label_ids', 'Labels', '', any], ['state_ids', 'States', '', any], ['assignee_ids', 'Assigned to', 'agent', any], ['mentioned_user_ids', 'Mentioned', 'agent', any]],
    },
  },
  jira: {
    name: 'Jira', what: 'Add a label to an issue of Jira Cloud to start a run; it reports in comments.',
    before: ['Make an account for the agent, nobody\'s own, and an API token for it (id.atlassian.com, Security).', 'Think of a long random text: the secret of the webhook.'],
    after: ['As an administrator open System, Webhooks, and make one with the address above and the secret. Events: issue created and updated, comment created.', 'Add the label to an issue: the delivery appears below.'],
    secrets: [signing('The secret of the webhook, or the client secret of the OAuth app.'), { name: 'token', label: 'API token', hint: 'Or an OAuth access token.' }],
    settings: [{ name: 'site', label: 'Site', type: 'text', required: true, placeholder: 'https://acme.atlassian.net' }, { name: 'email', label: 'E-mail address of the account', type: 'text', hint: 'That of the API token. Empty for OAuth.' }, { name: 'cloud_id', label: 'Cloud ID', type: 'text', hint: 'For OAuth only.' },
      { name: 'label', label: 'Label', type: 'text', placeholder: 'warp-agent' }, { name: 'projects', label: 'Projects', type: 'lines', placeholder: 'OPS', hint: 'Keys, one a line. Empty: all.' }],
  },
};

// signers are what a webhook with signatures can come from.
export const signers = [['github', 'GitHub'], ['gitlab', 'GitLab'], ['linear', 'Linear'], ['pagerduty', 'PagerDuty'], ['sentry', 'Sentry'], ['slack', 'Slack'], ['standard_webhooks', 'Standard Webhooks (Svix)'], ['stripe', 'Stripe'], ['vercel', 'Vercel']];

// absolute makes an address of one that the server knows only the path of.
export const absolute = (url) => String(url).startsWith('/') ? location.origin + url : url;
