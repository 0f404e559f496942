// What every component needs: htm's tagged template in the place of JSX, and
// Preact's hooks. Text in a template becomes a text node, never HTML.
import { h, render, Fragment, createContext } from '../../lib/preact.js';
import htm from '../../lib/htm.js';

export const html = htm.bind(h);
export { h, render, Fragment, createContext };
export {
  useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback, useContext, useReducer, useErrorBoundary, useId,
} from '../../lib/hooks.js';
