// Package crashpoint names the instructions at which tests kill the process.
//
// Hit does nothing in ordinary builds. In a build with the tag crashpoints it
// kills the process with SIGKILL when the environment asks for it:
//
//	OZ_CRASH_AT=submit.committed      die at the first hit
//	OZ_CRASH_AT=append.committed@3    die at the third hit
//	OZ_CRASH_MARK=/tmp/died           create this file just before, and do nothing when it is there already
//
// so that what was killed can be started again with the same environment.
package crashpoint

import "slices"

// Name is one point.
type Name string

// Points in the platform and its workers.
const (
	SubmitStart     Name = "submit.start"     // a request is judged, nothing is stored
	SubmitCommitted Name = "submit.committed" // the run is stored, nobody was told
	OfferRecorded   Name = "offer.recorded"   // PENDING, the worker was not asked
	OfferAccepted   Name = "offer.accepted"   // the worker said yes, CLAIMED is not stored
	SandboxStart    Name = "sandbox.start"    // about to start the sandbox
	SandboxStarted  Name = "sandbox.started"  // it runs, nothing says so
	BeginCommitted  Name = "begin.committed"  // INPROGRESS, the runner was not told
	AppendStart     Name = "append.start"     // events have arrived, nothing is stored
	AppendCommitted Name = "append.committed" // events are stored, the runner was not told
	Heartbeat       Name = "heartbeat"        // the lease is renewed, the runner was not told
	EndStart        Name = "end.start"        // the outcome has arrived, nothing is stored
	EndCommitted    Name = "end.committed"    // the run has ended, the runner was not told
	CancelCommitted Name = "cancel.committed" // CANCELLED, the sandbox still runs
	SandboxGone     Name = "sandbox.gone"     // its end is recorded, its files are there
	Release         Name = "lease.release"    // a lost execution is about to be given up
)

// Points in triggers.
const (
	TriggerStarted Name = "trigger.started" // a delivery's run is stored, the delivery is not decided
	TriggerActed   Name = "trigger.acted"   // all that a delivery asks for is done, and written down what to tell
	TriggerDecided Name = "trigger.decided" // its line says so
	TriggerHeard   Name = "trigger.heard"   // it is written down what to tell of runs, not how far they were heard
	TriggerSent    Name = "trigger.sent"    // a message was sent, nothing says so
)

// Points in the runner and the agent.
const (
	RunnerBundle         Name = "runner.bundle"
	RunnerCloned         Name = "runner.cloned"
	RunnerSetup          Name = "runner.setup"
	AgentPromptDelivered Name = "agent.prompt-delivered"
	AgentTurnStarted     Name = "agent.turn-started"
	AgentTurnAnswered    Name = "agent.turn-answered"
	AgentToolCalled      Name = "agent.tool-called"
	AgentToolDone        Name = "agent.tool-done"
	AgentPushIntended    Name = "agent.push-intended"
	AgentPushed          Name = "agent.pushed"
	AgentArtifact        Name = "agent.artifact"
	RunnerEnding         Name = "runner.ending"
	RunnerEnded          Name = "runner.ended"
)

// Platform lists the points of the platform and its workers.
func Platform() []Name {
	return []Name{SubmitStart, SubmitCommitted, OfferRecorded, OfferAccepted, SandboxStart, SandboxStarted,
		BeginCommitted, AppendStart, AppendCommitted, Heartbeat, EndStart, EndCommitted, CancelCommitted,
		SandboxGone, Release}
}

// Triggers lists the points of triggers.
func Triggers() []Name {
	return []Name{TriggerStarted, TriggerActed, TriggerDecided, TriggerHeard, TriggerSent}
}

// Runner lists the points of the runner and the agent.
func Runner() []Name {
	return []Name{RunnerBundle, RunnerCloned, RunnerSetup, AgentPromptDelivered, AgentTurnStarted, AgentTurnAnswered,
		AgentToolCalled, AgentToolDone, AgentPushIntended, AgentPushed, AgentArtifact, RunnerEnding, RunnerEnded}
}

// All lists every point.
func All() []Name { return slices.Concat(Platform(), Triggers(), Runner()) }
