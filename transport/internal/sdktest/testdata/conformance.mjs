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
