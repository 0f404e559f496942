package wire

import (
	"slices"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Environment gives an environment as the wire shows it (Oz API, CloudEnvironment).
func Environment(item oz.EnvironmentItem) api.CloudEnvironment {
	e := item.Environment
	out := api.CloudEnvironment{
		Uid: e.UID, Config: EnvironmentConfig(e.Config), LastUpdated: e.UpdatedAt.UTC(), CreatedAt: optionalTime(e.CreatedAt),
		Scope: optionalScope(e.Owner), Creator: profile(e.Creator), LastEditor: profile(e.LastEditor), Revision: e.Revision,
		SetupFailed: item.SetupFailed, LastTaskRunTimestamp: optionalTime(item.LastRunAt),
	}
	if t := item.LastTask; t != nil {
		out.LastTaskCreated = &api.EnvironmentLastTask{Id: string(t.ID), Title: t.Title, State: api.RunState(t.State),
			CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(), StartedAt: optionalTime(t.StartedAt)}
	}
	return out
}

// EnvironmentOf reads an environment without what its runs tell of it.
func EnvironmentOf(e api.CloudEnvironment) environment.Environment {
	return environment.Environment{
		UID: e.Uid, Config: EnvironmentConfigOf(e.Config), UpdatedAt: e.LastUpdated, CreatedAt: timeOf(e.CreatedAt),
		Owner: scopeOf(e.Scope), Creator: principal(e.Creator), LastEditor: principal(e.LastEditor), Revision: e.Revision,
	}
}

// EnvironmentItemOf reads an environment with what its runs tell of it. Of the
// newest run only what the wire shows is set.
func EnvironmentItemOf(e api.CloudEnvironment) oz.EnvironmentItem {
	item := oz.EnvironmentItem{Environment: EnvironmentOf(e), LastRunAt: timeOf(e.LastTaskRunTimestamp), SetupFailed: e.SetupFailed}
	if l := e.LastTaskCreated; l != nil {
		t := task.Task{ID: task.ID(l.Id)}
		t.Title, t.State = l.Title, task.State(l.State)
		t.CreatedAt, t.UpdatedAt, t.StartedAt = l.CreatedAt, l.UpdatedAt, timeOf(l.StartedAt)
		item.LastTask = &t
	}
	return item
}

// EnvironmentConfig gives a configuration as the wire has it (Oz API,
// CloudEnvironmentConfig).
func EnvironmentConfig(c environment.Config) api.CloudEnvironmentConfig {
	out := api.CloudEnvironmentConfig{
		Name: c.Name, Description: c.Description, DockerImage: c.DockerImage, DefaultRunnerUid: c.DefaultRunner,
		SetupCommands: slices.Clone(c.SetupCommands), Secrets: cloneList(c.Secrets), Providers: providers(c.Providers),
		FailureSessionRetentionMinutes: clone(c.FailureSessionRetentionMinutes),
	}
	for _, r := range c.Repos {
		out.GithubRepos = append(out.GithubRepos, api.Repository{Owner: r.Owner, Repo: r.Name, Url: r.URL, CheckoutRef: r.Ref})
	}
	return out
}

// EnvironmentConfigOf reads a configuration.
func EnvironmentConfigOf(c api.CloudEnvironmentConfig) environment.Config {
	out := environment.Config{
		Name: c.Name, Description: c.Description, DockerImage: c.DockerImage, DefaultRunner: c.DefaultRunnerUid,
		SetupCommands: slices.Clone(c.SetupCommands), Secrets: cloneList(c.Secrets), Providers: providersOf(c.Providers),
		FailureSessionRetentionMinutes: clone(c.FailureSessionRetentionMinutes),
	}
	for _, r := range c.GithubRepos {
		out.Repos = append(out.Repos, environment.Repo{Owner: r.Owner, Name: r.Repo, URL: r.Url, Ref: r.CheckoutRef})
	}
	return out
}

func providers(p *environment.Providers) *api.Providers {
	if p == nil {
		return nil
	}
	var out api.Providers
	if g := p.GCP; g != nil {
		out.Gcp = &api.GcpProviderConfig{ProjectNumber: g.ProjectNumber, WorkloadIdentityFederationPoolId: g.PoolID,
			WorkloadIdentityFederationProviderId: g.ProviderID, ServiceAccountEmail: g.ServiceAccountEmail}
	}
	if a := p.AWS; a != nil {
		out.Aws = &api.AwsProviderConfig{RoleArn: a.RoleARN}
	}
	return &out
}

func providersOf(p *api.Providers) *environment.Providers {
	if p == nil {
		return nil
	}
	var out environment.Providers
	if g := p.Gcp; g != nil {
		out.GCP = &environment.GCPProvider{ProjectNumber: g.ProjectNumber, PoolID: g.WorkloadIdentityFederationPoolId,
			ProviderID: g.WorkloadIdentityFederationProviderId, ServiceAccountEmail: g.ServiceAccountEmail}
	}
	if a := p.Aws; a != nil {
		out.AWS = &environment.AWSProvider{RoleARN: a.RoleArn}
	}
	return &out
}
