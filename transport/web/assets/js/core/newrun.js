// How any page opens the pane for a new run.
const listeners = new Set();

// newRun opens it. preset fills fields in: {agent, skill, environment, prompt, mode,
// model}; what one was writing before stays where preset says nothing.
export const newRun = (preset = {}) => listeners.forEach((f) => f(preset));

// onNewRun is for the shell, which has the pane.
export const onNewRun = (f) => { listeners.add(f); return () => listeners.delete(f); };
