// Uses the published SDK as any program of its users does. The server, the key
// and what the server holds come from the environment; a failed assertion ends
// the program with an error.
import assert from 'node:assert/strict';
import OzAPI from 'oz-agent-sdk';

const client = new OzAPI(); // OZ_API_BASE_URL and WARP_API_KEY
const cases = {
  async create() {
    const run = await client.agent.run({
      prompt: 'Fix the bug in auth.go',
      title: 'auth',
      config: { name: 'fixer', model_id: 'claude-sonnet-4-5', environment_id: process.env.ENVIRONMENT },
      metadata: { 'ticket.id': 'VIS-238' },
      a_field_of_tomorrow: { x: [1] },
    });
    assert.equal(run.state, 'QUEUED');
    assert.equal(run.task_id, run.run_id);

    const item = await client.agent.runs.retrieve(run.run_id);
    assert.equal(item.run_id, run.run_id);
    assert.equal(item.task_id, run.run_id);
    assert.equal(item.prompt, 'Fix the bug in auth.go');
    assert.equal(item.title, 'auth');
    assert.equal(item.state, 'QUEUED');
    assert.equal(item.source, 'API');
    assert.equal(item.agent_config.name, 'fixer');
    assert.equal(item.agent_config.model_id, 'claude-sonnet-4-5');
    assert.equal(item.agent_config.environment_id, process.env.ENVIRONMENT);
    assert.equal(item.started_at ?? null, null);
    assert.ok(Math.abs(Date.parse(item.created_at) - Date.now()) < 60_000);
    assert.ok(item.creator.uid);
    assert.ok(Array.isArray(item.artifacts ?? []));
  },

  async list() {
    const made = [];
    for (let i = 0; i < 7; i++) {
      made.push((await client.agent.run({ prompt: `listed ${i}`, config: { name: 'lister' } })).run_id);
    }
    const found = [];
    let query = { name: 'lister', limit: 3, state: ['QUEUED', 'FAILED'], created_after: '2019-12-27T18:11:19.117Z' };
    for (let pages = 1; ; pages++) {
      const page = await client.agent.runs.list(query);
      assert.ok(page.runs.length > 0);
      found.push(...page.runs.map((r) => r.run_id));
      if (!page.page_info.has_next_page) {
        assert.equal(pages, 3);
        break;
      }
      query = { ...query, cursor: page.page_info.next_cursor };
    }
    assert.deepEqual(found.sort(), made.sort());

    assert.equal((await client.agent.runs.list({ name: 'lister', state: ['SUCCEEDED'] })).runs.length, 0);
    assert.equal((await client.agent.runs.list({ name: 'lister', created_before: '2019-12-27T18:11:19.117Z' })).runs.length, 0);
    assert.equal((await client.agent.runs.list({ name: 'lister', source: 'API' })).runs.length, 7);
    assert.equal((await client.agent.runs.list({ name: 'nobody' })).page_info.has_next_page, false);
    assert.equal((await client.get('/agent/runs', { query: { metadata: { 'ticket.id': 'VIS-238' } } })).runs.length, 1);
    assert.equal((await client.get('/agent/runs', { query: { metadata: { 'ticket.id': 'another' } } })).runs.length, 0);
    await assert.rejects(client.agent.runs.list({ limit: 501 }), OzAPI.BadRequestError);
    await assert.rejects(client.agent.runs.list({ cursor: 'garbage' }), OzAPI.BadRequestError);
  },

  async cancel() {
    const { run_id } = await client.agent.run({ prompt: 'to be cancelled' });
    assert.equal(await client.agent.runs.cancel(run_id), run_id);
    assert.equal((await client.agent.runs.retrieve(run_id)).state, 'CANCELLED');
    await assert.rejects(client.agent.runs.cancel(run_id), (e) => {
      assert.ok(e instanceof OzAPI.BadRequestError);
      assert.equal(e.status, 400);
      assert.equal(e.error.type.split('/').at(-1), 'invalid_request');
      assert.equal(e.headers.get('x-should-retry'), 'false');
      return true;
    });
  },

  async followups() {
    const { run_id } = await client.agent.run({ prompt: 'to be steered' });
    const path = `/agent/runs/${run_id}/followups`;
    assert.deepEqual(await client.post(path, { body: { message: 'one more thing' } }), {});
    assert.deepEqual(await client.post(path, { body: {} }), {});
    await assert.rejects(client.post(path, { body: { message: 'x', mode: 'odd' } }), OzAPI.BadRequestError);
    const conversation = await client.get(`/agent/runs/${run_id}/conversation`);
    assert.ok(JSON.stringify(conversation).includes('to be steered'));
    const transcript = await client.get(`/agent/runs/${run_id}/transcript`); // follows the redirect
    assert.ok(JSON.stringify(transcript).includes('one more thing'));
  },

  async environments() {
    const { environments } = await client.get('/agent/environments', { query: { sort_by: 'name' } });
    assert.equal(environments.length, 1);
    assert.equal(environments[0].uid, process.env.ENVIRONMENT);
    assert.match(environments[0].uid, /^[A-Za-z0-9]{22}$/);
    assert.equal(environments[0].config.name, 'demo');
    assert.ok(Array.isArray((await client.get('/agent/models')).models));
  },

  async errors() {
    await assert.rejects(client.agent.runs.retrieve('a/b c%'), (e) => {
      assert.ok(e instanceof OzAPI.NotFoundError);
      assert.equal(e.error.status, 404);
      assert.equal(e.error.retryable, false);
      assert.equal(e.error.instance, '/api/v1/agent/runs/a%2Fb%20c%25');
      return true;
    });
    await assert.rejects(client.agent.runs.retrieve(''), OzAPI.BadRequestError);
    await assert.rejects(client.agent.run({}), OzAPI.BadRequestError);
    await assert.rejects(client.agent.run({ prompt: 'x', config: { environment_id: 'nothing' } }), OzAPI.NotFoundError);
    await assert.rejects(client.get('/nothing/here'), OzAPI.NotFoundError);
    await assert.rejects(client.withOptions({ apiKey: 'wrong' }).agent.runs.list(), OzAPI.AuthenticationError);
  },

  async skills() {
    const { agents } = await client.agent.list({ sort_by: 'last_run', include_malformed_skills: true });
    assert.ok(Array.isArray(agents));
    await assert.rejects(client.agent.list({ repo: 'no-owner' }), OzAPI.BadRequestError);
  },

  async schedules() {
    const made = await client.agent.schedules.create({
      name: 'nightly',
      cron_schedule: '0 3 * * *',
      prompt: 'Update the dependencies',
      agent_config: { environment_id: process.env.ENVIRONMENT, name: 'updater' },
    });
    assert.equal(made.enabled, true);
    assert.equal(made.agent_config.name, 'updater');
    assert.ok(Date.parse(made.history.next_run) > Date.now());
    assert.equal(new Date(made.history.next_run).getUTCHours(), 3);
    assert.equal((await client.agent.schedules.retrieve(made.id)).prompt, 'Update the dependencies');
    await client.agent.schedules.create({ name: 'a first one', cron_schedule: '*/5 * * * *', prompt: 'x' });
    assert.deepEqual((await client.agent.schedules.list()).schedules.map((s) => s.name), ['a first one', 'nightly']);
    const changed = await client.agent.schedules.update(made.id, { name: 'nightly', cron_schedule: '30 4 * * 1-5', enabled: true });
    assert.equal(changed.cron_schedule, '30 4 * * 1-5');
    assert.equal(changed.prompt, 'Update the dependencies'); // what is not sent stays
    assert.equal(changed.agent_config.environment_id, process.env.ENVIRONMENT);
    const paused = await client.agent.schedules.pause(made.id);
    assert.equal(paused.enabled, false);
    assert.equal(paused.history?.next_run ?? null, null);
    assert.equal((await client.agent.schedules.pause(made.id)).enabled, false);
    assert.equal((await client.agent.schedules.resume(made.id)).enabled, true);
    for (const cron of ['every day', '0 3 30 2 *', '* * * * * *', '']) {
      await assert.rejects(client.agent.schedules.create({ name: 'bad', cron_schedule: cron, prompt: 'x' }), (e) => {
        assert.ok(e instanceof OzAPI.BadRequestError);
        assert.equal(e.error.field, 'cron_schedule');
        return true;
      });
    }
    await assert.rejects(client.agent.schedules.create({ name: 'idle', cron_schedule: '0 3 * * *' }), OzAPI.BadRequestError);
    assert.deepEqual(await client.agent.schedules.delete(made.id), { success: true });
    await assert.rejects(client.agent.schedules.delete(made.id), OzAPI.NotFoundError);
    await assert.rejects(client.agent.schedules.retrieve(made.id), OzAPI.NotFoundError);
  },

  // What this version of the SDK has no methods for, through its own client.
  async identities() {
    const agent = await client.post('/agent/identities', { body: { name: 'reviewer', prompt: 'Be kind.', environment_id: process.env.ENVIRONMENT } });
    assert.equal(agent.name, 'reviewer');
    assert.equal(agent.available, true);
    assert.deepEqual(agent.skills, []);
    const { agents } = await client.get('/agent/identities');
    assert.ok(agents.some((a) => a.uid === agent.uid));
    const changed = await client.put(`/agent/identities/${agent.uid}`, { body: { description: 'reads code', environment_id: '' } });
    assert.equal(changed.description, 'reads code');
    assert.equal(changed.prompt, 'Be kind.');
    assert.equal(changed.environment_id ?? '', '');
    const run = await client.agent.run({ prompt: 'review it', agent_identity_uid: agent.uid, team: true });
    const item = await client.agent.runs.retrieve(run.run_id);
    assert.equal(item.executor.type, 'service_account');
    assert.equal(item.executor.uid, agent.uid);
    assert.equal(await client.delete(`/agent/identities/${agent.uid}`), null);
    await assert.rejects(client.get(`/agent/identities/${agent.uid}`), OzAPI.NotFoundError);
    await assert.rejects(client.post('/agent/identities', { body: { name: '' } }), OzAPI.BadRequestError);
  },

  async messages() {
    const sender = (await client.agent.run({ prompt: 'sends' })).run_id;
    const receiver = (await client.agent.run({ prompt: 'receives' })).run_id;
    const { message_ids } = await client.post('/agent/messages', { body: { to: [receiver], subject: 'hello', body: 'how are you', sender_run_id: sender } });
    assert.equal(message_ids.length, 1);
    const inbox = await client.get(`/agent/messages/${receiver}`, { query: { unread: true } });
    assert.deepEqual(inbox.map((m) => [m.message_id, m.read_at]), [[message_ids[0], null]]);
    assert.equal((await client.post(`/agent/messages/${message_ids[0]}/read`)).body, 'how are you');
    assert.equal(await client.post(`/agent/messages/${message_ids[0]}/delivered`), null);
    assert.equal((await client.get(`/agent/messages/${receiver}`, { query: { unread: true } })).length, 0);
    const events = await client.get('/agent/events', { query: { run_ids: [receiver, sender], since: 0 } });
    assert.ok(events.some((e) => e.event_type === 'new_message' && e.ref_id === message_ids[0]));
    await client.agent.runs.cancel(receiver);
    await assert.rejects(
      client.post('/agent/messages', { body: { to: [receiver], subject: 'x', body: 'x', sender_run_id: sender } }),
      OzAPI.UnprocessableEntityError,
    );
    const later = await client.get('/agent/events', { query: { run_ids: [receiver], since: events.at(-1).sequence } });
    assert.deepEqual(later.map((e) => e.event_type), ['run_cancelled']);
  },

  async handoffAndRedirects() {
    const { run_id } = await client.agent.run({ prompt: 'to be handed over' });
    assert.deepEqual(await client.get(`/agent/runs/${run_id}/handoff/attachments`), { attachments: [] });
    for (const path of [`conversations/${run_id}`, 'sessions/5f1a2f0e-0000-4000-8000-000000000000']) {
      const answer = await fetch(`${process.env.OZ_API_BASE_URL}/agent/${path}/redirect`); // newer versions send no key
      assert.equal(answer.status, 200);
      assert.deepEqual(await answer.json(), {});
    }
    await assert.rejects(client.get('/agent/artifacts/nothing'), OzAPI.NotFoundError);
  },

  // Every class of error, as a proxy before the server gives it, and what the
  // SDK makes of each: it repeats what may be repeated, and nothing else.
  async errorClasses() {
    const classes = {
      400: OzAPI.BadRequestError, 401: OzAPI.AuthenticationError, 403: OzAPI.PermissionDeniedError, 404: OzAPI.NotFoundError,
      409: OzAPI.ConflictError, 422: OzAPI.UnprocessableEntityError, 429: OzAPI.RateLimitError, 500: OzAPI.InternalServerError,
    };
    for (const [status, type] of Object.entries(classes)) {
      const failing = client.withOptions({ baseURL: `${process.env.FAILING}/${status}`, maxRetries: 0 });
      await assert.rejects(failing.agent.runs.list(), type, status);
    }
  },

  // The proxy before the server loses the first answer: the SDK sends the
  // create again by itself, without an idempotency key.
  async retriedCreate() {
    const unlucky = client.withOptions({ baseURL: process.env.UNLUCKY });
    const run = await unlucky.agent.run({ prompt: 'only once', config: { name: 'unlucky' } });
    const { runs } = await client.agent.runs.list({ name: 'unlucky' });
    assert.deepEqual(runs.map((r) => r.run_id), [run.run_id]);
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(`ok ${name}`);
}
