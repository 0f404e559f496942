package chaos

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"time"
)

// kind is what a run is about.
type kind string

const (
	kindPush   kind = "push"   // edit, check, commit, push
	kindAnswer kind = "answer" // one answer, without an environment
	kindCancel kind = "cancel" // works for ever, until a person cancels it
	kindFail   kind = "fail"   // the agent gives up
)

// clones reports that runs of the kind work on the repository.
func (k kind) clones() bool { return k == kindPush || k == kindFail }

// maxMessages bounds what a person says to a run, the prompt included.
const maxMessages = 6

// The models of the two wires.
const (
	modelAnthropic = "scripted-claude"
	modelOpenAI    = "scripted-gpt"
)

// story is what one person does with one run.
type story struct {
	number int
	kind   kind
	model  string
	// What the agent does besides: print a lot, take its time, hand over a file.
	prints, slow, file bool
	// steers is how many messages come while it works, follows after it ended.
	steers, follows int
	// pause comes before each message and before a cancel.
	pause time.Duration
}

// newStory invents the story with a number.
func newStory(seed uint64, number int) *story {
	rnd := rand.New(rand.NewPCG(seed, uint64(number)))
	s := &story{number: number, kind: kindPush, model: modelAnthropic}
	switch n := rnd.IntN(20); {
	case n < 2:
		s.kind = kindAnswer
	case n < 5:
		s.kind = kindCancel
	case n < 6:
		s.kind = kindFail
	}
	if rnd.IntN(3) == 0 {
		s.model = modelOpenAI
	}
	s.prints, s.slow, s.file = rnd.IntN(3) == 0, rnd.IntN(3) == 0, rnd.IntN(2) == 0
	s.pause = time.Duration(rnd.IntN(3000)) * time.Millisecond
	if s.kind == kindPush {
		s.steers, s.follows = max(0, rnd.IntN(4)-1), max(0, rnd.IntN(4)-1)
	}
	return s
}

func (s *story) title() string { return fmt.Sprintf("story %d", s.number) }

// mark names a message of a story. Texts contain it once.
func (s *story) mark(message int) string { return fmt.Sprintf("[[%d.%d]]", s.number, message) }

var markPattern = regexp.MustCompile(`\[\[(\d+)\.(\d+)\]\]`)

// parseMark reads a mark that markPattern has found.
func parseMark(found []string) (story, message int) {
	story, _ = strconv.Atoi(found[1]) // digits
	message, _ = strconv.Atoi(found[2])
	return story, message
}

// text is what the person says. The prompt is message 0.
func (s *story) text(message int) string {
	return fmt.Sprintf("%s Do the work of kind %q, and tell me when it is done.", s.mark(message), string(s.kind))
}

// label names the work for a message in files, commits and commands.
func (s *story) label(message int) string { return fmt.Sprintf("%d-%d", s.number, message) }

func (s *story) branch(message int) string { return "chaos/" + s.label(message) }

func (s *story) path(message int) string { return "work/" + s.label(message) + ".txt" }

func (s *story) content(message int) string { return "The work for " + s.label(message) + ".\n" }

func (s *story) subject(message int) string { return "Work for " + s.label(message) }
