// A terminal in a run's sandbox, in a document of its own: xterm makes style
// elements, which the policy of the other pages forbids.
import { html, render, useEffect, useRef, useState } from './core/html.js';
import { api, enc, url } from './core/api.js';
import { link, plain } from './core/format.js';
import { here, href } from './core/router.js';
import { Button, Failure, Icon, Loading } from './core/ui.js';
import { Terminal } from '../lib/xterm.js';
import { FitAddon } from '../lib/xterm-fit.js';

const id = decodeURIComponent(/^\/runs\/([^/]+)\/terminal$/.exec(here().path)?.[1] ?? '');

const theme = { background: '#0c1112', foreground: '#e6edee', cursor: '#4fd1c0', selectionBackground: '#2f5d57', black: '#2a3436', red: '#ff8a80', green: '#7fdc98', yellow: '#f0c674', blue: '#8ab8ff', magenta: '#dfa4f2', cyan: '#6fd8d3', white: '#dfe6e7', brightBlack: '#9aa7a9', brightRed: '#ffa39b', brightGreen: '#98ecb0', brightYellow: '#ffdc8c', brightBlue: '#aaccff', brightMagenta: '#edbdfb', brightCyan: '#93ece8', brightWhite: '#ffffff' };

// follow opens a link that a program has printed, after it was shown where it
// leads: the text of such a link may say something else.
function follow(event, address) {
  const to = link(address);
  if (/^https?:/.test(to) && window.confirm(`Open this address?\n\n${plain(to)}`)) window.open(to, '_blank', 'noopener,noreferrer');
}

// connect ties a terminal to the sandbox. said({state, ...}) tells how it stands.
function connect(box, { reader, said }) {
  const term = new Terminal({ theme, fontFamily: 'ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", Consolas, monospace', fontSize: 14, scrollback: 10000, cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches, screenReaderMode: reader, minimumContrastRatio: 4.5, linkHandler: { activate: follow, allowNonHttpProtocols: false } });
  const fit = new FitAddon();
  term.loadAddon(fit);
  term.open(box);
  fit.fit();
  // Ctrl+Shift+. leads out of the terminal, which keeps Tab to itself.
  term.attachCustomKeyEventHandler((e) => {
    if (e.ctrlKey && e.shiftKey && (e.key === '.' || e.key === '>' || e.key === ':')) { if (e.type === 'keydown') document.querySelector('.term-head a, .term-head button')?.focus(); return false; }
    return true;
  });
  const at = new URL(url(`/oz/runs/${enc(id)}/terminal`, { cols: term.cols, rows: term.rows }), location.href);
  at.protocol = at.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(at, 'oz.terminal.v1');
  socket.binaryType = 'arraybuffer';
  let closed = false;
  const send = (data) => { if (socket.readyState === WebSocket.OPEN) socket.send(data); };
  const bytes = new TextEncoder();
  const type = (data) => { for (let i = 0, b = bytes.encode(data); i < b.length; i += 32768) send(b.slice(i, i + 32768)); };
  term.onData(type);
  term.onBinary((data) => send(Uint8Array.from(data, (c) => c.charCodeAt(0))));
  term.onResize(({ cols, rows }) => send(JSON.stringify({ type: 'resize', cols, rows })));
  socket.onmessage = ({ data }) => {
    if (typeof data !== 'string') { term.write(new Uint8Array(data)); return; }
    let m = {};
    try { m = JSON.parse(data); } catch { return; }
    if (m.type === 'opened') { said({ state: 'open' }); fit.fit(); send(JSON.stringify({ type: 'resize', cols: term.cols, rows: term.rows })); term.focus(); }
    if (m.type === 'closed') { closed = true; said({ state: 'closed', code: m.code, reason: m.reason, exit: m.exit_code }); }
  };
  socket.onclose = () => { if (!closed) said({ state: 'lost' }); };
  const size = new ResizeObserver(() => fit.fit());
  size.observe(box);
  return () => { size.disconnect(); closed = true; socket.close(); term.dispose(); };
}

const why = { exited: 'The shell has ended.', left: 'You left.', idle: 'It was closed: nothing was typed for long.', revoked: 'You may not use it any more.', run_ended: 'The run has ended.', sandbox_gone: 'The sandbox is gone.', limit: 'It printed more than is kept.', server_stopping: 'The server restarts.' };

function App() {
  const [run, setRun] = useState(null);
  const [error, setError] = useState(null);
  const [now, say] = useState({ state: 'connecting' });
  const [round, again] = useState(0);
  const [reader, setReader] = useState(false);
  const [may, setMay] = useState(null);
  const box = useRef();
  useEffect(() => {
    setError(null);
    Promise.all([api.get(`/agent/runs/${enc(id)}`), api.get(`/oz/runs/${enc(id)}/rights`)]).then(([r, m]) => { setRun(r); setMay(m); document.title = `Terminal · ${plain(r.title || 'Run')}`; }, setError);
  }, [round]);
  const allowed = may?.take_over && may.terminal;
  useEffect(() => {
    if (!allowed) return undefined;
    say({ state: 'connecting' });
    return connect(box.current, { reader, said: say });
  }, [allowed, round, reader]);
  const back = href(`/runs/${enc(id)}`);
  return html`<div class="term-page"><header class="term-head"><a href=${back}>Back to the run</a><h1>${plain(run?.title || 'Terminal')}</h1>
      <span role="status" class=${`tool-state ${now.state === 'open' ? 'live' : now.state === 'connecting' ? '' : 'bad'}`}>${allowed && html`<i class="dot" aria-hidden="true"></i>${{ connecting: 'connecting', open: 'you have taken over', closed: 'closed', lost: 'not connected' }[now.state]}`}</span><span class="grow"></span>
      <label class="mode"><input type="checkbox" checked=${reader} onChange=${(e) => setReader(e.target.checked)} /> For screen readers</label></header>
    <p class="term-note">What it prints is kept in the transcript, where all who may see the run can read it. What you type is not. <span class="hide-phone"><kbd>Ctrl</kbd> <kbd>Shift</kbd> <kbd>.</kbd> leads out.</span></p>
    ${error && html`<${Failure} error=${error} retry=${() => again(round + 1)} />`}
    ${!may && !error && html`<${Loading} rows=${3} />`}
    ${may && !allowed && html`<div class="failure" role="alert"><${Icon} name="alert" /><div><strong>${may.take_over ? 'There is nothing to take over now' : 'You may not take over this run'}</strong><p>${may.take_over ? 'A terminal opens in the sandbox while the run is at work.' : 'Editors with an account may. Ask for it on the run’s page.'}</p></div>${may.take_over && html`<${Button} onClick=${() => again(round + 1)}>Look again<//>`}</div>`}
    ${(now.state === 'closed' || now.state === 'lost') && html`<div class="failure" role="alert"><${Icon} name="alert" /><div><strong>${now.state === 'lost' ? 'The terminal is not connected' : why[now.code] ?? plain(now.reason || 'It was closed.')}</strong>${now.state === 'lost' && html`<p>The server cannot be reached, four others are open already, or the sandbox does not answer.</p>`}</div><${Button} onClick=${() => again(round + 1)}>Open another<//></div>`}
    <div class="term-box" ref=${box} hidden=${!allowed}></div></div>`;
}

render(html`<${App} />`, document.getElementById('app'));
