// Shortcuts. Single keys act only where nobody types, and can be switched off
// (WCAG 2.2, 2.1.4).
import { kept } from '../core/keep.js';
import { newRun } from '../core/newrun.js';
import { go } from '../core/router.js';
import { entries } from './nav.js';

const patience = 1500; // milliseconds between g and the next key

export const singleKeys = () => kept('keys', true);

const typing = (e) => e.target.closest?.('input:not([type="checkbox"]):not([type="radio"]), textarea, select, [contenteditable]');

// listen calls help() and palette() for their keys, and does the others itself.
export function listen({ help, palette }) {
  let begun = 0;
  const key = (e) => {
    if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === 'k' && !e.altKey && !e.shiftKey) { e.preventDefault(); palette(); return; }
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || typing(e) || document.querySelector('dialog[open]') || !singleKeys()) return;
    const second = Date.now() - begun < patience;
    begun = 0;
    if (second) {
      const to = entries.find((x) => x.key === e.key);
      if (to) { e.preventDefault(); go(to.path); }
      return;
    }
    if (e.key === 'g') begun = Date.now();
    else if (e.key === 'n') { e.preventDefault(); newRun(); }
    else if (e.key === '?') { e.preventDefault(); help(); }
    else if (e.key === '/') {
      e.preventDefault();
      const search = document.querySelector('main input[type="search"]');
      if (search) search.focus(); else palette();
    }
  };
  document.addEventListener('keydown', key);
  return () => document.removeEventListener('keydown', key);
}
