// Why a run is where it is, and what to do about it, in words.
import { html } from '../core/html.js';
import { ago, exact, plain } from '../core/format.js';
import { href } from '../core/router.js';
import { Icon } from '../core/ui.js';
import { Markdown } from './markdown.js';

// codes says what each error code means (transport/openapi.yaml, ErrorCode) and
// what helps.
const codes = {
  insufficient_credits: ['There is no budget left to start with.', 'Ask an admin to raise the budget, or wait until it is renewed.'],
  budget_exceeded: ['A budget or a limit of this run is used up.', 'Raise the limit in the run or its agent, or ask an admin for a larger budget; then follow up.'],
  feature_not_available: ['This server does not offer what was asked for.', 'Ask whoever runs the server to switch it on.'],
  external_authentication_required: ['A service outside wants somebody to sign in.', 'Connect the account under Integrations, then follow up.'],
  not_authorized: ['Something was not allowed to the run or to who started it.', 'Ask an owner of what it needs for access.'],
  invalid_request: ['The run was asked for something that cannot be.', 'Mend the prompt or the configuration and start it again.'],
  resource_not_found: ['Something that the run names does not exist, or it may not see it.', 'Check the environment, the repositories, the secrets and the skill that it names.'],
  integration_disabled: ['The integration is switched off.', 'Switch it on under Integrations.'],
  integration_not_configured: ['The integration is not set up yet.', 'Finish its set-up under Integrations.'],
  operation_not_supported: ['What was asked for is not possible with this kind of run.', ''],
  environment_setup_failed: ['A repository could not be cloned, or a setup command failed.', 'Its output is in the transcript. Mend the environment, then follow up or start it again.'],
  content_policy_violation: ['The model refused the request.', 'Say it in other words, or choose another model.'],
  conflict: ['Something changed at the same time.', 'Try again.'],
  authentication_required: ['A key is missing, wrong or expired: the model provider’s, or a service’s.', 'Check the secrets that the run uses.'],
  resource_unavailable: ['Something that the run needs was away: a model, a worker, a service.', 'It may be tried again as it is.'],
  internal_error: ['The platform failed.', 'Try again; tell whoever runs the server the run’s id if it stays.'],
  agent_process_failed: ['The agent’s program ended without an outcome.', 'The end of the transcript shows what it did last.'],
  infrastructure_timeout: ['The worker was lost, or the sandbox took too long.', 'It may be tried again as it is.'],
};

// Explain tells why a run waits, failed or stands still.
export function Explain({ run, why }) {
  const s = run.status_message ?? {}, q = s.question;
  const code = s.error_code && codes[s.error_code];
  const said = s.message && html`<div class="status-text"><${Markdown} text=${s.message} /></div>`;
  switch (run.state) {
    case 'QUEUED': {
      const later = run.oz?.ready_at && new Date(run.oz.ready_at) > new Date();
      const c = run.agent_config ?? {};
      return html`<${Box} look="wait" title=${later ? html`It begins ${ago(run.oz.ready_at)}` : 'It waits for a worker'}>
        ${said}${!later && html`<p>The next worker with room takes it${c.worker_host ? html`; only the worker <code>${plain(c.worker_host)}</code> may` : ''}${c.worker_labels?.length ? html`; it needs the labels ${c.worker_labels.map((l) => html`<code>${plain(l)}</code> `)}` : ''}.</p>`}
        ${why && html`<p class="dim">${plain(why)}</p>`}<p><a href=${href('/workers')}>See the workers</a></p><//>`;
    }
    case 'PENDING': case 'CLAIMED': return html`<${Box} look="wait" title="A worker prepares it">${said}<p>The sandbox starts, then the workspace is made.</p><//>`;
    case 'INPROGRESS': return said ? html`<${Box} look="live" title="At work">${said}<//>` : null;
    case 'BLOCKED': return html`<${Box} look="need" title=${q?.kind === 'runs' ? 'It waits for other runs' : q?.kind === 'approval' ? 'It waits for an approval' : q ? 'It waits for an answer' : 'It waits for you'}>${q ? html`<div class="status-text"><${Markdown} text=${q.text} /></div>` : said}
      ${(q?.runs ?? []).map((id) => html`<p><a href=${href(`/runs/${encodeURIComponent(id)}`)}>Run ${plain(id.slice(0, 8))}</a></p>`)}<//>`;
    case 'FAILED': case 'ERROR': return html`<${Box} look="bad" title=${run.state === 'FAILED' ? 'It failed' : 'The platform failed'}>${said}
      ${code ? html`<p>${code[0]}</p>${code[1] && html`<p><strong>What helps:</strong> ${code[1]}</p>`}` : ''}${s.error_code && html`<p class="dim">Code <code>${plain(s.error_code)}</code>${s.retryable ? ' · worth another try as it is' : ''}</p>`}
      ${s.session_debug_until && html`<p class="dim" title=${exact(s.session_debug_until)}>The workspace is kept for inspection, at the latest for ${ago(s.session_debug_until).replace('in ', '')}.</p>`}<//>`;
    case 'CANCELLED': return html`<${Box} look="dim" title="It was cancelled">${said}<//>`;
  }
  return said ? html`<${Box} look="good" title="What came of it">${said}<//>` : null;
}

const Box = ({ look, title, children }) => html`<section class=${`explain ${look}`}><h3><${Icon} name=${look === 'bad' ? 'alert' : look === 'need' ? 'question' : look === 'good' ? 'check' : 'schedules'} size=${16} /> ${title}</h3>${children}</section>`;
