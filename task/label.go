package task

import (
	"regexp"
	"slices"
	"strings"
)

// Bounds of a list of labels.
const (
	maxLabels    = 32
	maxLabelSize = 64 // bytes
)

// label is the rule for one label: a word, or a word with a value.
var label = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*(=[A-Za-z0-9._/-]+)?$`)

// ValidateLabels checks the labels of a worker, or those that a run asks for:
// at most 32, each at most 64 bytes, a word such as "gpu" or a word with a value
// such as "zone=eu".
func ValidateLabels(field string, labels []string) error {
	if len(labels) > maxLabels {
		return Invalid(field, "has %d labels, at most %d are allowed", len(labels), maxLabels)
	}
	for _, l := range labels {
		if len(l) > maxLabelSize || !label.MatchString(l) {
			return Invalid(field, `%q is no label: a word such as "gpu" or "zone=eu", at most %d bytes of [A-Za-z0-9._/-]`, l, maxLabelSize)
		}
	}
	return nil
}

// wishMark begins the labels in a wish; no name of a worker has it.
const wishMark = "?"

// WorkerWish is which workers the run may go to, in one word: WorkerHost, and
// behind it the labels, if any. Stores keep it as Waiting.WorkerHost.
func (c Config) WorkerWish() string {
	if len(c.WorkerLabels) == 0 {
		return c.WorkerHost
	}
	labels := slices.Clone(c.WorkerLabels)
	slices.Sort(labels)
	return c.WorkerHost + wishMark + strings.Join(slices.Compact(labels), ",")
}

// Wish takes Waiting.WorkerHost apart.
func (w Waiting) Wish() (host string, labels []string) {
	host, list, ok := strings.Cut(w.WorkerHost, wishMark)
	if !ok {
		return host, nil
	}
	return host, strings.Split(list, ",")
}
