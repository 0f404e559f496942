// Package proc starts child processes so that they can be ended whole: each
// child leads its own process group, and a marked child can be found again by
// its environment, whatever group or session its descendants moved to.
package proc
