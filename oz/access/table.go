package access

import (
	"maps"
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// Action is something a caller may want to do.
type Action string

// The actions. Those marked "of none in particular" concern no single object
// (a list, a catalogue): everybody who is signed in may ask, and is answered
// with what they may see.
const (
	AccountView       Action = "account.view" // who am I; of none in particular
	ModelView         Action = "model.view"   // of none in particular
	RunCreate         Action = "run.create"
	RunExecute        Action = "run.execute"      // start a run that the caller itself carries out
	RunList           Action = "run.list"         // of none in particular
	RunView           Action = "run.view"         // its record, log, transcript and artifacts
	RunSteer          Action = "run.steer"        // send it a message
	RunTakeOver       Action = "run.take_over"    // open a terminal in its sandbox
	RunRequestEdit    Action = "run.request_edit" // ask to edit it
	RunCancel         Action = "run.cancel"
	EnvironmentCreate Action = "environment.create"
	EnvironmentView   Action = "environment.view" // also to run in it
	EnvironmentManage Action = "environment.manage"
	SecretCreate      Action = "secret.create"
	SecretView        Action = "secret.view" // its metadata; nobody may see a value
	SecretManage      Action = "secret.manage"
	KeyCreate         Action = "key.create"
	KeyView           Action = "key.view"
	KeyManage         Action = "key.manage"
	ExecutionAct      Action = "execution.act" // what a runner does, by its run token
	RunShare          Action = "run.share"     // change who may see it
	RunReport         Action = "run.report"    // say how far it is, for whoever carries it out
	MessageSend       Action = "message.send"  // of the sending run; to whom is run.steer
	MessageView       Action = "message.view"  // of the receiving run
	SkillView         Action = "skill.view"    // of none in particular
	AgentCreate       Action = "agent.create"
	AgentView         Action = "agent.view" // also to run as it
	AgentManage       Action = "agent.manage"
	ScheduleCreate    Action = "schedule.create"
	ScheduleView      Action = "schedule.view"
	ScheduleManage    Action = "schedule.manage"
	TriggerCreate     Action = "trigger.create" // webhooks, integrations and subscriptions
	TriggerView       Action = "trigger.view"   // also what arrived through them
	TriggerManage     Action = "trigger.manage" // also to let through again what arrived
	TeamCreate        Action = "team.create"    // of none in particular
	TeamView          Action = "team.view"      // its members
	TeamManage        Action = "team.manage"
	MCPCreate         Action = "mcp.create" // shared MCP servers
	MCPView           Action = "mcp.view"
	MCPManage         Action = "mcp.manage"
	PromptCreate      Action = "prompt.create" // saved prompts
	PromptView        Action = "prompt.view"
	PromptManage      Action = "prompt.manage"
	EndpointCreate    Action = "model_endpoint.create" // a team's own model providers
	EndpointView      Action = "model_endpoint.view"
	EndpointManage    Action = "model_endpoint.manage"
	RuleCreate        Action = "rule.create" // rules that all agents of an owner are told
	RuleView          Action = "rule.view"
	RuleManage        Action = "rule.manage"
	ProfileCreate     Action = "agent_profile.create" // what agents may do
	ProfileView       Action = "agent_profile.view"
	ProfileManage     Action = "agent_profile.manage"
	MemoryStoreCreate Action = "memory_store.create"
	MemoryStoreManage Action = "memory_store.manage"
	MemoryView        Action = "memory.view"   // memory stores and what they remember
	MemoryWrite       Action = "memory.write"  // what they remember
	RunnerCreate      Action = "runner.create" // runner profiles
	RunnerView        Action = "runner.view"
	RunnerManage      Action = "runner.manage"
	WorkerView        Action = "worker.view" // of none in particular
	WorkerConnect     Action = "worker.connect"
	UsageView         Action = "usage.view"       // of none in particular
	StatsView         Action = "stats.view"       // of none in particular
	NotificationUse   Action = "notification.use" // one's own
	BudgetView        Action = "budget.view"
	BudgetManage      Action = "budget.manage"
	AuditView         Action = "audit.view"
)

// Object is what an action is done to. For something about to be made, Creator
// is the caller. The zero Object stands for none in particular.
type Object struct {
	Owner   task.Scope
	Creator task.Principal
	TaskID  task.ID      // of runs and what belongs to them
	Sharing task.Sharing // of runs
}

// OfRun is a run, or what belongs to one, as an object.
func OfRun(t task.Task) Object {
	return Object{Owner: t.Owner, Creator: t.Creator, TaskID: t.ID, Sharing: t.Sharing}
}

// none reports that o stands for no object in particular.
func (o Object) none() bool {
	return o.Owner.IsZero() && o.Creator == (task.Principal{}) && o.TaskID == "" && o.Sharing.IsZero()
}

// grade says who of a team may do something to the team's object.
type grade int

const (
	nobody  grade = iota
	leaders       // owners and admins of the team
	creator       // who made the object, and leaders
	members       // everybody on the team
)

// rule is one row of the table. What a row does not say is denied.
type rule struct {
	personal bool  // the person who owns a personal object may
	team     grade // who may when a team owns the object
	runner   bool  // the run token of the object's own run may
	none     bool  // whoever is signed in may when there is no object in particular
	// shared is the least role in a run that lets those do it whom it was
	// shared with; "" lets none.
	shared task.ShareRole
	// machine keeps people out: only team and worker keys may.
	machine bool
	// account keeps out who came by a link alone.
	account bool
}

// table is the one place that gives rights (Oz platform, ACC-4).
func table() map[Action]rule {
	return map[Action]rule{
		AccountView:       {none: true},
		ModelView:         {none: true},
		RunCreate:         {personal: true, team: members},
		RunExecute:        {personal: true, team: members},
		RunList:           {none: true},
		RunView:           {personal: true, team: members, shared: task.RoleViewer},
		RunSteer:          {personal: true, team: members, shared: task.RoleEditor},
		RunTakeOver:       {personal: true, team: members, shared: task.RoleEditor, account: true},
		RunRequestEdit:    {personal: true, team: members, shared: task.RoleViewer, account: true},
		RunCancel:         {personal: true, team: creator},
		EnvironmentCreate: {personal: true, team: members},
		EnvironmentView:   {personal: true, team: members, none: true},
		EnvironmentManage: {personal: true, team: creator},
		SecretCreate:      {personal: true, team: members},
		SecretView:        {personal: true, team: members, none: true},
		SecretManage:      {personal: true, team: leaders},
		KeyCreate:         {personal: true, team: leaders},
		KeyView:           {personal: true, team: creator, none: true},
		KeyManage:         {personal: true, team: creator},
		ExecutionAct:      {runner: true},
		RunShare:          {personal: true, team: creator},
		RunReport:         {personal: true, team: creator, runner: true},
		MessageSend:       {personal: true, team: members, runner: true},
		MessageView:       {personal: true, team: members, runner: true, none: true},
		SkillView:         {none: true},
		AgentCreate:       {team: members},
		AgentView:         {team: members, none: true},
		AgentManage:       {team: creator},
		ScheduleCreate:    {personal: true, team: members},
		ScheduleView:      {personal: true, team: members, none: true},
		ScheduleManage:    {personal: true, team: creator},
		TeamCreate:        {none: true},
		TeamView:          {team: members, none: true},
		TeamManage:        {team: leaders},
		MCPCreate:         {personal: true, team: members},
		MCPView:           {personal: true, team: members, none: true},
		MCPManage:         {personal: true, team: creator},
		TriggerCreate:     {personal: true, team: members},
		TriggerView:       {personal: true, team: members, none: true},
		TriggerManage:     {personal: true, team: creator},
		PromptCreate:      {personal: true, team: members},
		PromptView:        {personal: true, team: members, none: true},
		PromptManage:      {personal: true, team: creator},
		EndpointCreate:    {team: leaders},
		EndpointView:      {team: members, none: true},
		EndpointManage:    {team: leaders},
		RuleCreate:        {personal: true, team: members},
		RuleView:          {personal: true, team: members, none: true},
		RuleManage:        {personal: true, team: creator},
		ProfileCreate:     {personal: true, team: members},
		ProfileView:       {personal: true, team: members, none: true},
		ProfileManage:     {personal: true, team: creator},
		MemoryStoreCreate: {personal: true, team: members},
		MemoryStoreManage: {personal: true, team: creator},
		MemoryView:        {personal: true, team: members, none: true},
		MemoryWrite:       {personal: true, team: members},
		RunnerCreate:      {personal: true, team: members},
		RunnerView:        {personal: true, team: members, none: true},
		RunnerManage:      {personal: true, team: creator},
		WorkerView:        {none: true},
		WorkerConnect:     {team: members, machine: true},
		UsageView:         {none: true},
		StatsView:         {none: true},
		NotificationUse:   {none: true},
		BudgetView:        {personal: true, team: members, none: true},
		BudgetManage:      {team: leaders},
		AuditView:         {personal: true, team: leaders, none: true},
	}
}

// Actions lists every action that the table knows, sorted.
func Actions() []Action { return slices.Sorted(maps.Keys(table())) }

// Known reports whether the table has a row for a.
func (a Action) Known() bool { _, ok := table()[a]; return ok }

// Allow reports whether c may do a to o: nil, or a *task.Error. An action that
// the table does not know is denied to everybody but System.
func Allow(c Caller, a Action, o Object) error {
	if c.System && a.Known() {
		return nil
	}
	r := table()[a] // the zero rule denies
	if c.Execution != "" {
		return allowRunner(c, r, o)
	}
	if c.Guest() {
		return allowGuest(c, a, r, o)
	}
	if !c.SignedIn() {
		return task.Errorf(task.CodeAuthenticationRequired, "send an API key as a bearer token")
	}
	if c.KeyType == KeyWorker && a != WorkerConnect {
		return task.Errorf(task.CodeNotAuthorized, "a worker key may only connect a worker; use a personal, team or agent key for this")
	}
	if o.none() {
		if r.none {
			return nil
		}
		return denied(a)
	}
	if c.belongs(o) {
		switch {
		case r.machine && c.KeyType != KeyTeam && c.KeyType != KeyWorker:
			return task.Errorf(task.CodeNotAuthorized, "only a worker key or a team key may do this: ask an admin of the team for one")
		case r.allows(c, o):
			return nil
		}
		return denied(a)
	}
	switch role := c.shared(o); {
	case role == "":
		return hidden()
	case r.sharedWith(role):
		return nil
	}
	return denied(a)
}

// allowRunner judges run tokens: they reach their own run and nothing else.
func allowRunner(c Caller, r rule, o Object) error {
	switch {
	case o.TaskID != "" && o.TaskID != c.TaskID:
		return hidden()
	case !r.runner || o.TaskID == "":
		return task.Errorf(task.CodeNotAuthorized, "a run token is good for its own execution only; use an API key for this")
	}
	return nil
}

// allowGuest judges who came by a link alone: the link reaches its own run and
// nothing else. That whoever is signed in may see a run is not for guests.
func allowGuest(c Caller, a Action, r rule, o Object) error {
	switch role := c.linked(o); {
	case o.none():
		return task.Errorf(task.CodeAuthenticationRequired, "a link opens its run and nothing else: sign in for this")
	case role == "":
		return hidden()
	case r.account || !r.sharedWith(role):
		return denied(a)
	}
	return nil
}

// sharedWith reports that the row lets those do it whom a run was shared with
// as role.
func (r rule) sharedWith(role task.ShareRole) bool {
	return role != "" && (r.shared == role || r.shared == task.RoleViewer)
}

// belongs reports that the caller sees the object as its owner or one of the
// owner's team. A private run is hidden from those of the team who neither
// made nor lead it.
func (c Caller) belongs(o Object) bool {
	switch o.Owner.Type {
	case task.ScopeUser:
		return c.Principal.IsPerson() && c.Principal.UID == o.Owner.UID
	case task.ScopeTeam:
		role, ok := c.member(o.Owner.UID)
		return ok && (!o.Sharing.Private() || role.leads() || c.made(o))
	}
	return false
}

// shared gives the strongest role that the run was shared with the caller by,
// "" for none.
func (c Caller) shared(o Object) task.ShareRole {
	return stronger(stronger(o.Sharing.Granted(c.Scopes()...), o.Sharing.Link()), c.linked(o))
}

// linked gives the strongest role of the links that the caller has to the run.
func (c Caller) linked(o Object) task.ShareRole {
	var role task.ShareRole
	for _, l := range c.Links {
		if o.TaskID != "" && l.TaskID == o.TaskID {
			role = stronger(role, l.Role)
		}
	}
	return role
}

func stronger(a, b task.ShareRole) task.ShareRole {
	if a == "" || b == task.RoleEditor {
		return b
	}
	return a
}

// made reports that the caller is who made the object.
func (c Caller) made(o Object) bool {
	return o.Creator.UID != "" && o.Creator.UID == c.Principal.UID && o.Creator.Type == c.Principal.Type
}

// allows judges an object that the caller belongs to.
func (r rule) allows(c Caller, o Object) bool {
	if o.Owner.Type == task.ScopeUser {
		return r.personal
	}
	role, _ := c.member(o.Owner.UID)
	switch r.team {
	case members:
		return true
	case creator:
		return c.made(o) || role.leads()
	case leaders:
		return role.leads()
	}
	return false
}

func denied(a Action) error {
	return task.Errorf(task.CodeNotAuthorized, "you may not do this (%s): ask who made it, or an admin of the team", string(a))
}

func hidden() error {
	return task.Errorf(task.CodeNotFound, "there is no such thing, or you may not see it: check the id and whose key you use")
}
