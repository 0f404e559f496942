package github

import (
	"testing"

	"github.com/oz-platform/cloudagents/task"
)

// FuzzParse: what is no event is refused as invalid; of what is one, all that is
// looked at is there. FuzzPayloads does the same through a store, and is slow.
func FuzzParse(f *testing.F) {
	const rest = `"repository":{"id":1,"full_name":"a/b"},"sender":{"id":1,"login":"x"}}`
	f.Add(onIssue, []byte(`{"action":"opened","issue":{"id":2,"number":1,"body":"@oz"},`+rest))
	f.Add(onIssueComment, []byte(`{"action":"created","issue":{"number":1,"pull_request":{}},"comment":{"id":3,"user":{"id":4},"body":"@oz"},`+rest))
	f.Add(onPull, []byte(`{"action":"review_requested","requested_team":{"slug":"c"},"pull_request":{"number":1,"merged":true},`+rest))
	f.Add(onReviewComment, []byte(`{"action":"created","pull_request":{"number":1},"comment":{"id":3,"user":{"id":4},"in_reply_to_id":2},`+rest))
	f.Add(onCheckSuite, []byte(`{"action":"completed","check_suite":{"id":1,"pull_requests":[{"number":1,"base":{"repo":{"id":1}}}]},`+rest))
	f.Add(onWorkflowRun, []byte(`{"action":"completed","workflow_run":{"id":1,"path":"a/b"},`+rest))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		e, err := parse(kind, body)
		if err != nil {
			if task.CodeOf(err) != task.CodeInvalidRequest {
				t.Fatal(err)
			}
			return
		}
		x := occasion{event: e, settings: Settings{Handle: "oz", Automations: []Automation{{Name: "a", On: Kinds(), Filter: Filter{Labels: []string{"l"}, Workflows: []string{"*"}}}}}}
		if x.matches(); x.title() == "" || x.told() == "" || e.key("d") == "" {
			t.Fatalf("an event says nothing: %s", body)
		}
		_ = knowledge{pull: e.Pull}.text(e)
		x.address()
		e.url()
		x.entity(nil)
	})
}
