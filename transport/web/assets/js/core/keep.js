// What this browser keeps for its user: choices and drafts, never a key. Without
// storage everything works, and is forgotten.
export function kept(name, otherwise = null) {
  try { return JSON.parse(localStorage.getItem(`oz-${name}`)) ?? otherwise; } catch { return otherwise; }
}

export function keep(name, value) {
  try {
    if (value === null || value === undefined) localStorage.removeItem(`oz-${name}`);
    else localStorage.setItem(`oz-${name}`, JSON.stringify(value));
  } catch { /* full, or not allowed */ }
}

// forget removes all that was kept, for whoever signs out.
export function forget(except = []) {
  try { Object.keys(localStorage).filter((k) => k.startsWith('oz-') && !except.includes(k)).forEach((k) => localStorage.removeItem(k)); } catch { /* nothing is there */ }
}

// theme is kept as plain text, since theme.js reads it before anything else.
export const themes = ['system', 'light', 'dark'];
export function theme() { try { return localStorage.getItem('oz-theme') ?? 'system'; } catch { return 'system'; } }
export function setTheme(name) {
  try { if (name === 'system') localStorage.removeItem('oz-theme'); else localStorage.setItem('oz-theme', name); } catch { /* for this page only */ }
  if (name === 'system') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
}
