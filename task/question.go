package task

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// QuestionKind says who answers a Question.
type QuestionKind string

// The kinds of questions.
const (
	// QuestionPerson is answered by a person, with one of Choices or in words.
	QuestionPerson QuestionKind = "question"
	// QuestionApproval is answered by a person with ChoiceApprove or
	// ChoiceReject. What is to be approved has not been done.
	QuestionApproval QuestionKind = "approval"
	// QuestionRuns is answered by the platform once the named runs have ended.
	QuestionRuns QuestionKind = "runs"
)

// The choices of an approval.
const (
	ChoiceApprove = "approve"
	ChoiceReject  = "reject"
)

// Expiry says what becomes of a question that nobody has answered in time.
type Expiry string

// The outcomes of an expired question.
const (
	// ExpiryFail ends the run as FAILED.
	ExpiryFail Expiry = "fail"
	// ExpiryContinue resumes the run, whose agent is told that nobody answered.
	ExpiryContinue Expiry = "continue"
)

// Limits of a question; ours.
const (
	MaxQuestionBytes = 16 << 10 // of the text
	MaxChoices       = 20
	MaxChoiceBytes   = 200
	maxSubjectBytes  = 256
	maxDetailBytes   = 16 << 10 // it stands in every list of runs, too
	// MaxQuestionTime is the longest that a question may stay open.
	MaxQuestionTime = 30 * 24 * time.Hour
	// MaxQuestionRuns bounds Question.Runs.
	MaxQuestionRuns = 100
)

// Question is what a BLOCKED run waits for. It stands in the run's Status, so
// that it goes with the state: what takes the run on is its answer.
type Question struct {
	ID   string       `json:"id"` // unique within the run, 1 to 64 bytes
	Kind QuestionKind `json:"kind"`
	Text string       `json:"text"` // for people; Markdown
	// Choices are the possible answers, of which one may be given; a person may
	// say more beside it. Without choices the answer is in words.
	Choices []string `json:"choices,omitempty"`
	// Subject names what an approval is for: an artifact, a tool call.
	Subject string `json:"subject,omitempty"`
	// Detail is for programs, a JSON object: the action that waits, for one.
	Detail json.RawMessage `json:"detail,omitempty"`
	// Runs are those that a QuestionRuns waits for; All of them, or any.
	Runs []ID `json:"runs,omitempty"`
	All  bool `json:"all,omitempty"`
	// ExpiresAt is when it is too late for an answer. Zero is never, but the
	// platform sets it where the asker has not.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// OnExpiry says what happens then. Default ExpiryFail; ExpiryContinue for
	// QuestionRuns.
	OnExpiry Expiry `json:"on_expiry,omitempty"`
}

// Clone copies a question and what it refers to. That of nil is nil.
func (q *Question) Clone() *Question {
	if q == nil {
		return nil
	}
	c := *q
	c.Choices, c.Detail, c.Runs = slices.Clone(q.Choices), slices.Clone(q.Detail), slices.Clone(q.Runs)
	return &c
}

// Validate judges a question as an execution asks it. It fails with ErrInvalid.
func (q *Question) Validate() error {
	switch {
	case q.ID == "" || len(q.ID) > 64:
		return Invalid("question.id", "must have 1 to 64 bytes")
	case strings.TrimSpace(q.Text) == "" || len(q.Text) > MaxQuestionBytes:
		return Invalid("question.text", "must have 1 to %d bytes", MaxQuestionBytes)
	case len(q.Subject) > maxSubjectBytes:
		return Invalid("question.subject", "has %d bytes, at most %d are allowed", len(q.Subject), maxSubjectBytes)
	case len(q.Detail) > maxDetailBytes:
		return Invalid("question.detail", "has %d bytes, at most %d are allowed", len(q.Detail), maxDetailBytes)
	}
	if len(q.Detail) > 0 {
		var object map[string]any
		if json.Unmarshal(q.Detail, &object) != nil {
			return Invalid("question.detail", "must be a JSON object")
		}
	}
	switch q.OnExpiry {
	case "", ExpiryFail, ExpiryContinue:
	default:
		return Invalid("question.on_expiry", "%q is neither fail nor continue", string(q.OnExpiry))
	}
	if err := ValidateText("question.text", q.Text); err != nil {
		return err
	}
	return q.validateAnswers()
}

// validateAnswers judges who may answer, and what.
func (q *Question) validateAnswers() error {
	switch q.Kind {
	case QuestionPerson:
	case QuestionApproval:
		if !slices.Equal(q.Choices, []string{ChoiceApprove, ChoiceReject}) {
			return Invalid("question.choices", "an approval has the choices approve and reject")
		}
	case QuestionRuns:
		if len(q.Runs) == 0 || len(q.Runs) > MaxQuestionRuns || slices.Contains(q.Runs, "") {
			return Invalid("question.runs", "must name 1 to %d runs", MaxQuestionRuns)
		}
	default:
		return Invalid("question.kind", "%q is none of question, approval, runs", string(q.Kind))
	}
	if q.Kind != QuestionRuns && len(q.Runs) > 0 {
		return Invalid("question.runs", "is for questions of kind runs")
	}
	if len(q.Choices) > MaxChoices {
		return Invalid("question.choices", "has %d, at most %d are allowed", len(q.Choices), MaxChoices)
	}
	for i, c := range q.Choices {
		if strings.TrimSpace(c) == "" || len(c) > MaxChoiceBytes || strings.ContainsAny(c, "\n\r\x00") {
			return Invalid("question.choices", "each must be one line of 1 to %d bytes", MaxChoiceBytes)
		}
		if slices.Contains(q.Choices[:i], c) {
			return Invalid("question.choices", "%q is there twice", c)
		}
	}
	return nil
}

// Accepts judges an answer by the question. It fails with ErrInvalid.
func (q *Question) Accepts(choice, text string) error {
	switch {
	case q.Kind == QuestionRuns:
		return Invalid("question_id", "this run waits for other runs and for nobody's answer; send it a message to take it on")
	case choice != "" && !slices.Contains(q.Choices, choice):
		if len(q.Choices) == 0 {
			return Invalid("choice", "the question has no choices: answer in words")
		}
		return Invalid("choice", "%q is none of: %s", choice, strings.Join(q.Choices, ", "))
	case choice == "" && q.Kind == QuestionApproval:
		return Invalid("choice", "say approve or reject")
	case choice == "" && strings.TrimSpace(text) == "":
		return Invalid("text", "an answer needs a choice or words")
	}
	return nil
}

// Open reports the question that a run waits with, nil when there is none.
func (h Head) Open() *Question {
	if h.State != StateBlocked {
		return nil
	}
	return h.Status.Question
}

// Expire ends the waiting for an answer that has not come in time: the run
// FAILED, or goes on, as Question.OnExpiry says. It fails with CodeConflict
// when the question is not open any more.
type Expire struct {
	Question string // its ID
	// Note is what the agent, or whoever looks at the run, is told.
	Note string
}

func (c Expire) subject() ExecutionID { return "" }

func (c Expire) apply(d *decision) error {
	q := d.head.Open()
	if q == nil || q.ID != c.Question {
		return Errorf(CodeConflict, "this question is not open any more")
	}
	if d.head.PrunedTo > 0 || !d.head.Cancellable() {
		return Errorf(CodeOperationNotSupported, "this run cannot be taken on by the server")
	}
	fail := q.OnExpiry != ExpiryContinue
	in := Input{Text: c.Note, Question: q.ID}
	if err := (AddInput{Input: in}).apply(d); err != nil || !fail {
		return err
	}
	// FAILED is reached by way of QUEUED: a run that has ended can only be taken on.
	return d.end(StateFailed, Status{Message: c.Note}, "question expired")
}
