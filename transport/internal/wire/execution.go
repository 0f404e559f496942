package wire

import (
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Executions gives executions as the wire shows them, without token hashes.
func Executions(list []task.Execution) []api.ExecutionItem {
	out := make([]api.ExecutionItem, 0, len(list))
	for _, e := range list {
		out = append(out, api.ExecutionItem{
			Id: string(e.ID), RunId: string(e.TaskID), Number: e.Number, Worker: e.Worker, State: api.ExecutionItemState(e.State),
			LeaseUntil: optionalTime(e.LeaseUntil), Appended: e.Appended, OfferedAt: e.OfferedAt.UTC(),
			ClaimedAt: optionalTime(e.ClaimedAt), BegunAt: optionalTime(e.BegunAt), EndedAt: optionalTime(e.EndedAt),
			Reason: e.Reason, SandboxGone: e.SandboxGone,
		})
	}
	return out
}

// ExecutionsOf reads executions.
func ExecutionsOf(list []api.ExecutionItem) []task.Execution {
	out := make([]task.Execution, 0, len(list))
	for _, e := range list {
		out = append(out, task.Execution{
			ID: task.ExecutionID(e.Id), TaskID: task.ID(e.RunId), Number: e.Number, Worker: e.Worker, State: task.ExecutionState(e.State),
			LeaseUntil: timeOf(e.LeaseUntil), Appended: e.Appended, OfferedAt: e.OfferedAt,
			ClaimedAt: timeOf(e.ClaimedAt), BegunAt: timeOf(e.BegunAt), EndedAt: timeOf(e.EndedAt),
			Reason: e.Reason, SandboxGone: e.SandboxGone,
		})
	}
	return out
}

// End gives an outcome as the wire has it.
func End(e task.End) api.EndExecutionRequest {
	return api.EndExecutionRequest{State: api.RunState(e.State), Status: statusMessage(e.Status), SeenInput: e.SeenInput}
}

// EndOf reads an outcome.
func EndOf(e api.EndExecutionRequest) task.End {
	return task.End{State: task.State(e.State), Status: statusOf(e.Status), SeenInput: e.SeenInput}
}
