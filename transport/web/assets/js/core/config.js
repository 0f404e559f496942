// Where this app lives and where its API is: what the server wrote into the page.
const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? '';

export const base = meta('oz-base');
export const apiBase = meta('oz-api');
export const title = meta('oz-title') || 'Oz';
export const version = meta('oz-version'); // of the pages
