package task

// State is where a run is in its life. Clients see exactly these strings (Oz
// API, RunState).
type State string

// The states of a run.
const (
	StateQueued     State = "QUEUED"     // waits for a worker
	StatePending    State = "PENDING"    // offered to a worker; not cancellable for a moment
	StateClaimed    State = "CLAIMED"    // a worker took it
	StateInProgress State = "INPROGRESS" // the agent works
	StateSucceeded  State = "SUCCEEDED"
	StateFailed     State = "FAILED" // ended by what its user can mend
	StateBlocked    State = "BLOCKED"
	StateError      State = "ERROR" // ended by a fault of the platform
	StateCancelled  State = "CANCELLED"
)

// States lists all states in the order of a run's life.
func States() []State {
	return []State{StateQueued, StatePending, StateClaimed, StateInProgress,
		StateSucceeded, StateFailed, StateBlocked, StateError, StateCancelled}
}

// Known reports whether s is one of the nine states.
func (s State) Known() bool { return s.Active() || s.Ended() }

// Active reports that the run waits for or does work.
func (s State) Active() bool {
	switch s {
	case StateQueued, StatePending, StateClaimed, StateInProgress:
		return true
	}
	return false
}

// Ended reports that nothing happens to the run until a person writes to it.
// BLOCKED counts: it waits for input.
func (s State) Ended() bool {
	switch s {
	case StateSucceeded, StateFailed, StateBlocked, StateError, StateCancelled:
		return true
	}
	return false
}

// CanBecome is the table of legal transitions (Oz API, run state machine).
// Decide makes no other.
func (s State) CanBecome(to State) bool {
	switch s {
	case "":
		return to == StateQueued
	case StateQueued:
		return to == StatePending || to == StateInProgress || to == StateCancelled || to == StateFailed || to == StateError
	case StatePending:
		return to == StateQueued || to == StateClaimed || to == StateFailed || to == StateError
	case StateClaimed:
		return to == StateQueued || to == StateInProgress || to == StateCancelled || to == StateFailed || to == StateError
	case StateInProgress:
		return to.Ended()
	}
	return s.Ended() && to == StateQueued
}
