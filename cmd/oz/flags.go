package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Annotations by which the flag library remembers its groups.
const (
	exclusiveGroups = "cobra_annotation_mutually_exclusive"
	togetherGroups  = "cobra_annotation_required_if_others_set"
)

// checkGroups judges the flags that exclude or need each other. The library
// would do so too, but later and in other words.
func checkGroups(cmd *cobra.Command) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, g := range f.Annotations[exclusiveGroups] {
			if set := given(cmd, g); len(set) > 1 {
				err = usageError{fmt.Errorf("--%s and --%s exclude each other", set[0], set[1])}
			}
		}
		for _, g := range f.Annotations[togetherGroups] {
			if names := strings.Fields(g); len(given(cmd, g)) < len(names) {
				err = usageError{fmt.Errorf("--%s are needed together", strings.Join(names, " and --"))}
			}
		}
	})
	return err
}

// given lists the flags of a group that were set.
func given(cmd *cobra.Command, group string) []string {
	var set []string
	for _, name := range strings.Fields(group) {
		if cmd.Flags().Changed(name) {
			set = append(set, name)
		}
	}
	return set
}

// namesChange reports that a command that changes something was told what.
func namesChange(cmd *cobra.Command) bool {
	named := false
	cmd.Flags().Visit(func(f *pflag.Flag) {
		global := cmd.InheritedFlags().Lookup(f.Name) != nil
		named = named || !global && f.Name != "jq" && f.Name != "force"
	})
	return named
}

// errNothing is the mistake of a change that changes nothing.
var errNothing = errors.New("name something to change, see --help")

// maxDescription bounds descriptions, in characters (Oz command line,
// environments and runners).
const maxDescription = 240

func checkDescription(s string) error {
	if n := utf8.RuneCountInString(s); n > maxDescription {
		return usageError{fmt.Errorf("--description: has %d characters, at most %d are allowed", n, maxDescription)}
	}
	return nil
}
