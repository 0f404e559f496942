// Package chaos breaks a running system on purpose and then checks that
// nothing was lost, doubled or left over.
//
//	report, err := chaos.Run(ctx, chaos.Config{Seed: 1, Faults: 100})
//	if err != nil {
//		return err
//	}
//	report.Print(os.Stdout)
//
// Run starts the real server ozd, one process or several over one database,
// and lets people of its own making use it: they submit runs that clone, edit,
// commit, push and hand over files, steer them while they work, follow up
// after they end, and cancel some. The model is scripted and decides by what
// the conversation shows as done. All connections go through a proxy.
//
// Meanwhile faults strike at random, chosen by the seed: SIGKILL of servers,
// supervisors, runners and the agents' tools, SIGSTOP for longer than a lease,
// death at each named crash point, connections that break off after any byte,
// models that refuse or break off, a database that goes away.
//
// When the faults are over and all work is done, the checker reads the store,
// the remote's reflog, the model's conversations, the followers' events, the
// process table and the directories, and counts what breaks a law.
//
// # Repeating
//
// The seed gives the faults, the stories and their order. What the operating
// system makes of them differs from time to time, so a seed repeats the kind
// of a failure rather than the failure itself.
package chaos
