package environment

import (
	"sync"
	"time"
)

// Phase is a part of the preparation.
type Phase string

// The phases, in their order.
const (
	PhaseClone Phase = "clone"
	PhaseSetup Phase = "setup"
)

// StepStatus says how far a step is.
type StepStatus string

// A step starts, may give output many times, and is done or has failed.
const (
	StepStarted StepStatus = "started"
	StepOutput  StepStatus = "output"
	StepDone    StepStatus = "done"
	StepFailed  StepStatus = "failed"
)

// MaxOutputChunk bounds Step.Output, in bytes.
const MaxOutputChunk = 32 << 10

// Step is one report of progress: the clone of a repository or a setup command.
type Step struct {
	Phase Phase
	// Number counts the steps of the phase from 1, in the order of the Config.
	Number int
	// Text is the setup command, or the URL cloned from.
	Text string
	// Repo is "owner/name" in the clone phase.
	Repo string
	// Status says how far the step is.
	Status StepStatus
	// Output is what a setup command printed, raw: it may hold secrets. At most
	// MaxOutputChunk bytes, and valid only during the call.
	Output []byte
	// From says where a finished clone came from.
	From Origin
	// ExitCode is that of a finished setup command, -1 if it was killed.
	ExitCode int
	// Duration is how long the finished step took.
	Duration time.Duration
}

// reporter hands steps to the caller, one at a time.
type reporter struct {
	mu     sync.Mutex
	report func(Step)
}

func (r *reporter) send(s Step) {
	if r.report == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report(s)
}

// begin reports the start of s and returns what reports its end.
func (r *reporter) begin(s Step) (end func(Step, error)) {
	start := time.Now()
	s.Status = StepStarted
	r.send(s)
	return func(s Step, err error) {
		s.Status, s.Duration = StepDone, time.Since(start)
		if err != nil {
			s.Status = StepFailed
		}
		r.send(s)
	}
}
