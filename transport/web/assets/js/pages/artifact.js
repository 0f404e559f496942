// An artifact by itself: a plan with its versions, a file, a screenshot.
import { html } from '../core/html.js';
import { api, enc } from '../core/api.js';
import { ago, bytes, plain } from '../core/format.js';
import { useQuery } from '../core/router.js';
import { Copy, LinkButton, Loaded, Loading, Failure, Page, Time, useLoad } from '../core/ui.js';
import { Markdown } from '../run/markdown.js';
import { Content, served } from '../run/panels.js';
import { artifactName } from '../run/rows.js';

export default function ArtifactPage({ params }) {
  const got = useLoad((signal) => api.get(`/agent/artifacts/${enc(params.uid)}`, {}, { signal }), [params.uid]);
  if (!got.data) return html`<${Page} title="Artifact">${got.error ? html`<${Failure} error=${got.error} retry=${got.reload} />` : html`<${Loading} />`}<//>`;
  const a = got.data, d = a.data;
  const title = d.title || d.filename || d.description || artifactName(a.artifact_type);
  const at = d.download_url && served(d.download_url);
  return html`<${Page} title=${title} lead=${html`${artifactName(a.artifact_type)} · <${Time} at=${a.created_at} />${d.size_bytes ? ` · ${bytes(d.size_bytes)}` : ''}${d.filepath ? html` · <code>${plain(d.filepath)}</code>` : ''}`}
    actions=${at ? html`<${LinkButton} icon="download" href=${at} data-native download=${d.filename ?? true}>Download<//>` : d.content !== undefined && html`<${Copy} text=${d.content} label="Copy as Markdown" />`}>
    ${a.artifact_type === 'PLAN' ? html`<${Versions} uid=${params.uid} />` : html`<${Content} artifact=${a} whole />`}<//>`;
}

function Versions({ uid }) {
  const [query, set] = useQuery();
  const got = useLoad((signal) => api.get(`/oz/artifacts/${enc(uid)}/versions`, {}, { signal }), [uid]);
  return html`<${Loaded} from=${got}>${({ versions }) => {
    const v = versions.find((x) => String(x.version) === query.version) ?? versions[0];
    if (!v) return html`<p class="dim">It has no text.</p>`;
    return html`${versions.length > 1 && html`<label class="mode">Version <select value=${v.version} onChange=${(e) => set({ version: e.target.value })}>${versions.map((x, i) => html`<option value=${x.version} selected=${x === v}>${x.version}${i === 0 ? ' (newest)' : ''} · ${ago(x.created_at)}</option>`)}</select></label>`}
      <div class="panel doc"><${Markdown} text=${v.content} /></div>`;
  }}<//>`;
}
