// Who is signed in.
import { api } from './api.js';
import { createContext, useContext } from './html.js';

export const Session = createContext(null);

// useSession gives {me, reload}: me is what GET /oz/whoami answers. To who came by
// a link it gives guest, too.
export const useSession = () => useContext(Session);

export const whoami = () => api.get('/oz/whoami');

// leads tells whether the person may manage the team.
export const leads = (me, team) => (me.teams ?? []).some((t) => (!team || t.uid === team) && ['owner', 'admin'].includes(String(t.role).toLowerCase()));
