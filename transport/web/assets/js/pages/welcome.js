// The first steps on a new server.
import { api } from '../core/api.js';
import { apiBase } from '../core/config.js';
import { plural } from '../core/format.js';
import { html, useState } from '../core/html.js';
import { newRun } from '../core/newrun.js';
import { href } from '../core/router.js';
import { Badge, Button, Icon, LinkButton, Loaded, Page, useLoad } from '../core/ui.js';
import { Code } from '../manage/parts.js';

// useThere finds what the server has. What may not be seen counts as unknown.
const useThere = () => useLoad(async (signal) => {
  const count = async (path, key, want = () => true) => { try { return (await api.get(path, {}, { signal }))[key].filter(want).length; } catch (e) { if (e.name === 'AbortError') throw e; return undefined; } };
  const [models, environments, workers, agents] = await Promise.all([count('/agent/models', 'models', (m) => !m.disable_reason), count('/agent/environments', 'environments'), count('/oz/workers', 'workers', (w) => w.ready), count('/agent/identities', 'agents')]);
  return { models, environments, workers, agents };
}, []);

function Step({ done, name, children }) {
  return html`<li class="step"><span class=${`mark ${done ? 'good' : ''}`} aria-hidden="true"><${Icon} name=${done ? 'check' : 'right'} size=${16} /></span><div><h3>${name} ${done ? html`<${Badge} look="good">There<//>` : html`<${Badge} look="need">Missing<//>`}</h3>${children}</div></li>`;
}

const Checks = ({ there }) => html`<ul class="check-steps">
  <${Step} name="A model" done=${there.models > 0}>${there.models > 0 ? html`<p class="dim">${plural(there.models, 'model')} can be used.</p>` : html`<p>Agents think with a language model. Start the server with the key of a provider, or <a href=${href('/settings/models')}>add an endpoint of your own</a>.</p><${Code}>ANTHROPIC_API_KEY=... ozd<//>`}<//>
  <${Step} name="An environment" done=${there.environments > 0}>${there.environments > 0 ? html`<p class="dim">${plural(there.environments, 'environment')}: repositories and set-up that runs choose.</p>` : html`<p>It names the repositories that agents work on. Without one they start in an empty workspace, which is enough for a first try. <a href=${href('/environments?open=new')}>Make an environment</a></p>`}<//>
  <${Step} name="A worker" done=${there.workers > 0}>${there.workers > 0 ? html`<p class="dim">${plural(there.workers, 'worker')} can take runs.</p>` : html`<p>Runs wait until a worker takes them. <a href=${href('/workers')}>Add one</a></p>`}<//></ul>`;

const goals = {
  automation: ['schedules', 'Create an automation', 'Work that comes back by itself: by the clock, or when something happens elsewhere.'],
  runs: ['runs', 'Run cloud agents', 'Give an agent a task, watch it, steer it, and get a result to review.'],
  app: ['integrations', 'Build an app', 'Start and follow runs from a program of yours, by the API or in Go.'],
};

const Goal = {
  automation: () => html`<p>Say what is to be done and when. A schedule starts a fresh run at each tick; a webhook or an integration starts one for each event.</p><div class="actions"><${LinkButton} kind="primary" href=${href('/schedules?open=new')}>New schedule<//><${LinkButton} href=${href('/integrations')}>Connect a service<//><${LinkButton} href=${href('/integrations?tab=webhooks&new=webhook')}>New webhook<//></div>`,
  runs: () => html`<p>Start with something small that you can check: a failing test, a question about the code, a document that is out of date.</p><div class="actions"><${Button} kind="primary" onClick=${() => newRun()}>New run<//><${LinkButton} href=${href('/skills?tab=suggested')}>See suggestions<//></div>`,
  app: () => html`<p>Make a key, and send a task. The answer has the ID of the run; its events come as a stream.</p><${Code}>${`curl -H "Authorization: Bearer $OZ_API_KEY" -H 'Content-Type: application/json' \\\n  -d '{"prompt": "Say hello"}' ${location.origin}${apiBase}/agent/runs`}<//><div class="actions"><${LinkButton} kind="primary" href=${href('/settings/keys?open=new')}>Make an API key<//><a class="button" href=${`${apiBase}/reference`} data-native>Reference of the API</a></div>`,
};

export default function Welcome() {
  const there = useThere();
  const [goal, choose] = useState('runs');
  return html`<${Page} title="Welcome" lead="Agents that work in the background, where you can watch and steer them. What do you want to do first?" actions=${html`<${LinkButton} kind="quiet" href=${href('/runs')}>Skip to the runs<//>`}>
    <div class="tiles three" role="group" aria-label="Goals">${Object.entries(goals).map(([id, [icon, name, text]]) => html`<button type="button" key=${id} class="tile" aria-pressed=${goal === id} onClick=${() => choose(id)}><${Icon} name=${icon} size=${22} /><strong>${name}</strong><span class="dim">${text}</span></button>`)}</div>
    <div class="columns"><section class="panel stack" aria-live="polite"><h2>${goals[goal][1]}</h2><${Goal[goal]} /></section>
      <section class="panel"><h2>What this server has</h2><${Loaded} from=${there} rows=${3}>${(t) => html`<${Checks} there=${t} />`}<//></section></div><//>`;
}
