// What every component needs: htm's tagged template in the place of JSX, and
// Preact's hooks. Text in a template becomes a text node, never HTML.
import { h, render, createContext } from '../../lib/preact.js';
import htm from '../../lib/htm.js';

export const html = htm.bind(h);
export { render, createContext };
export {
  useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback, useContext, useErrorBoundary, useId,
} from '../../lib/hooks.js';
