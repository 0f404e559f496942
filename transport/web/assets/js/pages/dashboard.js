// What runs and what to start.
import { html } from '../core/html.js';
import { Page } from '../core/ui.js';

export default function Dashboard() {
  return html`<${Page} title="Dashboard"><//>`;
}
