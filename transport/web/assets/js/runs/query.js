// What the address of the list says, as a question to the API. Nothing here
// touches the page, so that it can be tested by itself.

export const active = ['QUEUED', 'PENDING', 'CLAIMED', 'INPROGRESS'];
export const failed = ['FAILED', 'ERROR'];

// quick filters. Each has its own members of the query.
export const quick = [
  { id: 'all', name: 'All' },
  { id: 'mine', name: 'Mine' },
  { id: 'active', name: 'Active', state: active },
  { id: 'failed', name: 'Failed', state: failed },
  { id: 'recurring', name: 'Recurring', source: 'SCHEDULED_AGENT' },
];

export const sources = {
  WEB_APP: 'Web', CLI: 'Command line', API: 'API', SCHEDULED_AGENT: 'Schedule', SLACK: 'Slack', LINEAR: 'Linear', JIRA: 'Jira', GITHUB_WEBHOOK: 'GitHub', GITLAB_WEBHOOK: 'GitLab',
  GITHUB_ACTION: 'GitHub Action', ORCHESTRATION: 'Another run', LOCAL: 'This machine', CLOUD_MODE: 'Cloud mode', AUTOFIX: 'Autofix', RUN_SCORER: 'Scorer', SELF_IMPROVEMENT: 'Self-improvement',
};
export const sourceName = (s) => sources[s] ?? s ?? '';

export const states = ['QUEUED', 'PENDING', 'CLAIMED', 'INPROGRESS', 'BLOCKED', 'SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED'];
export const sorts = { created_at: 'Newest', updated_at: 'Last changed', title: 'Title' };

// filters are the advanced ones: names of members of the address.
export const filters = ['state', 'source', 'creator', 'environment', 'agent', 'skill', 'schedule', 'from', 'to'];

// day gives the begin of a day in the reader's own zone; next: of the day
// after. A day that there is not gives nothing.
export function day(text, next = 0) {
  const m = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text ?? '');
  if (!m || m[1] < '1970' || m[1] > '2999') return undefined;
  const at = new Date(+m[1], m[2] - 1, +m[3]);
  if (at.getMonth() !== m[2] - 1 || at.getDate() !== +m[3]) return undefined;
  at.setDate(at.getDate() + next);
  return at.toISOString();
}

// question turns the address's query (URLSearchParams) into the API's. What it
// does not know is left out: an address may come from anywhere.
export function question(q, me) {
  const one = quick.find((f) => f.id === q.get('view')) ?? quick[0];
  const chosen = q.getAll('state').filter((s) => states.includes(s));
  const both = one.state ? (chosen.length ? one.state.filter((s) => chosen.includes(s)) : one.state) : chosen;
  const sort = Object.hasOwn(sorts, q.get('sort') ?? '') ? q.get('sort') : 'created_at';
  return {
    q: q.get('q') || undefined,
    state: both, nothing: Boolean(one.state && both.length === 0),
    source: one.source ?? (Object.hasOwn(sources, q.get('source') ?? '') ? q.get('source') : undefined),
    creator: one.id === 'mine' ? me : q.get('creator') || undefined,
    environment_id: q.get('environment') || undefined,
    executor: q.get('agent') || undefined,
    skill: q.get('skill') || undefined, schedule_id: q.get('schedule') || undefined,
    // "after" is strict: a moment before, for runs of the very begin of the day.
    created_after: shift(day(q.get('from')), -1), created_before: day(q.get('to'), 1),
    sort_by: sort, sort_order: sort === 'title' ? 'asc' : 'desc',
  };
}

const shift = (time, ms) => time && new Date(new Date(time).getTime() + ms).toISOString();

// cost of a run in US dollars; undefined when nothing is known.
export function cost(run) {
  const u = run.request_usage;
  if (!u) return undefined;
  const parts = [u.inference_cost_usd, u.compute_cost_usd, u.platform_cost_usd].filter((x) => typeof x === 'number');
  return parts.length ? parts.reduce((a, b) => a + b, 0) : undefined;
}

// working is how long a run has worked, in milliseconds, until now.
export function working(run, now = Date.now()) {
  const done = run.oz?.run_time_ms ?? 0;
  const begun = run.oz?.begun_at ? new Date(run.oz.begun_at).getTime() : 0;
  return begun && run.state === 'INPROGRESS' ? done + Math.max(0, now - begun) : done;
}

export const cancellable = (run) => run.is_run_type_cancellable !== false && !['SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED'].includes(run.state);
