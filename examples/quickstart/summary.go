package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// summary shows what the run left: the branch on the remote with its diff, the
// time of each phase, the tokens, the outcome.
func summary(ctx context.Context, w io.Writer, p *oz.Platform, t task.Task, remote string) error {
	for _, a := range t.Artifacts {
		fmt.Fprintf(w, "\nArtifact: %s\n", console.ArtifactTitle(a))
		if a.ReferenceType != task.ReferenceBranch {
			continue
		}
		// The diff comes from the remote, so it shows what has arrived there.
		diff, err := exec.CommandContext(ctx, "git", "-C", remote, "diff", "main..."+a.Title).Output()
		if err != nil {
			return fmt.Errorf("read the pushed branch: %w", err)
		}
		fmt.Fprintf(w, "\n%s", diff)
	}
	fmt.Fprintln(w, "\nTimes")
	if err := phases(ctx, w, p, t); err != nil {
		return err
	}
	tokens := t.Usage.Tokens()
	fmt.Fprintf(w, "\nTokens    %d in, %d out", tokens.Input+tokens.CacheRead+tokens.CacheWrite, tokens.Output)
	if cost, complete := t.Usage.Cost(); complete && cost.Total() > 0 {
		fmt.Fprintf(w, ", $%.4f", cost.Total())
	}
	fmt.Fprintf(w, "\nOutcome   %s: %s\n", t.State, firstParagraph(t.Head.Status.Message))
	return nil
}

// phases prints how long each part took, from submitting to the end.
func phases(ctx context.Context, w io.Writer, p *oz.Platform, t task.Task) error {
	var last time.Time
	for e, err := range p.Watch(ctx, t.ID, 0) {
		if err != nil {
			return err
		}
		last = e.Time
		if d, ok := e.Payload.(*task.Phase); ok && d.Status != task.PhaseStarted {
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-10s %6d ms  %s", d.Name, d.DurationMS, d.Detail), " "))
		}
	}
	fmt.Fprintf(w, "  %-10s %6d ms\n", "total", last.Sub(t.CreatedAt).Milliseconds())
	return nil
}

// firstParagraph drops what the terminal has shown already.
func firstParagraph(s string) string {
	first, _, _ := strings.Cut(s, "\n\n")
	return first
}
