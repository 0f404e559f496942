// The pane for a new run.
import { html, useState } from '../core/html.js';
import { api } from '../core/api.js';
import { go } from '../core/router.js';
import { Area, Dialog, Form } from '../core/ui.js';

export function NewRun({ preset, onClose }) {
  const [prompt, setPrompt] = useState(preset.prompt ?? '');
  const submit = async () => {
    const run = await api.post('/agent/runs', { prompt });
    onClose();
    go(`/runs/${run.run_id}`);
  };
  return html`<${Dialog} title="New run" side onClose=${onClose}><${Form} submit=${submit} action="Start" cancel=${onClose}>${(errorOf) => html`<${Area} label="What shall the agent do?" required rows=${8} value=${prompt} onInput=${setPrompt} error=${errorOf('prompt')} />`}<//><//>`;
}
