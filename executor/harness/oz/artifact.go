package ozagent

import (
	"context"
	"strings"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// reportOnce puts an artifact into the log unless it is there.
func (a *agent) reportOnce(ctx context.Context, art task.Artifact) error {
	if names := a.s.Redactor.Contains([]byte(art.URL + "\n" + art.Path + "\n" + art.Branch)); len(names) > 0 {
		return deny("The artifact's address contains the secret %s; it was not reported.", strings.Join(names, ", "))
	}
	if err := art.Validate(); err != nil {
		return badInput("%v", err)
	}
	if a.conv.artifacts[art.UID] {
		return nil
	}
	art.Title, art.Description = a.s.Redactor.String(art.Title), a.s.Redactor.String(art.Description)
	if err := a.record(ctx, &task.ArtifactReported{Artifact: art}); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.AgentArtifact)
	return nil
}
