package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// storeRef attaches a memory store (Oz API, MemoryStoreRef).
type storeRef struct {
	UID          string `json:"uid"`
	Access       string `json:"access"`
	Instructions string `json:"instructions"`
	Extract      bool   `json:"extract,omitempty"`
}

// defaultStoreUse is what an agent is told of a store that was attached without
// a word.
const defaultStoreUse = "What is known from earlier runs: look here first, and keep what will help later."

// parseStoreRef reads uid[:access[:instructions]].
func parseStoreRef(flag, s string) (storeRef, error) {
	parts := append(strings.SplitN(s, ":", 3), "", "")
	ref := storeRef{UID: parts[0], Instructions: parts[2]}
	switch parts[1] {
	case "", "read_write":
		ref.Access = "read_write"
	case "read_only":
		ref.Access = parts[1]
	case "learn":
		ref.Access, ref.Extract = "read_write", true
	default:
		return ref, usageError{fmt.Errorf("--%s: %q is none of read_only, read_write, learn; write uid[:access[:instructions]]", flag, parts[1])}
	}
	if ref.UID == "" {
		return ref, usageError{fmt.Errorf("--%s: begins with the uid of a memory store", flag)}
	}
	return ref, nil
}

// memoryEdits are changes of what an agent remembers in, as flags say them.
type memoryEdits struct {
	flag        string // that attaches
	add, remove []string
	none        bool // takes all away
	notOwn      bool // a new agent gets no store of its own
	learn       bool // that store learns
}

const storeGrammar = "`store` of its runs, uid[:access[:instructions]]; access is read_only, read_write (default) or, for one, learn"

// createFlags are for a new agent.
func (e *memoryEdits) createFlags(cmd *cobra.Command) {
	e.flag = "memory-store"
	s := cmd.Flags()
	s.StringArrayVar(&e.add, e.flag, nil, "memory "+storeGrammar)
	s.BoolVar(&e.notOwn, "no-own-memory", false, "it gets no memory store of its own")
	s.BoolVar(&e.learn, "learn", false, "its own memory store learns: it keeps what a conversation taught, when that has ended")
	cmd.MarkFlagsMutuallyExclusive("no-own-memory", "learn")
}

// updateFlags are for one that is there.
func (e *memoryEdits) updateFlags(cmd *cobra.Command) {
	e.flag = "add-memory-store"
	s := cmd.Flags()
	s.StringArrayVar(&e.add, e.flag, nil, "attach, or change how it is attached, a memory "+storeGrammar)
	s.StringArrayVar(&e.remove, "remove-memory-store", nil, "`uid` of a memory store to take away")
	s.BoolVar(&e.none, "remove-all-memory-stores", false, "take all away; the agent's own stays, and learns no more")
	cmd.MarkFlagsMutuallyExclusive("remove-memory-store", "remove-all-memory-stores")
	cmd.MarkFlagsMutuallyExclusive("add-memory-store", "remove-all-memory-stores")
}

// refs are the stores that an agent has afterwards. What is attached anew keeps
// its instructions unless it says others.
func (e *memoryEdits) refs(now []storeRef) ([]storeRef, error) {
	out := []storeRef{}
	for _, r := range now {
		if !e.none && !slices.Contains(e.remove, r.UID) {
			out = append(out, r)
		}
	}
	for _, s := range e.add {
		r, err := parseStoreRef(e.flag, s)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(out, func(o storeRef) bool { return o.UID == r.UID })
		if r.Instructions == "" {
			r.Instructions = defaultStoreUse
			if i >= 0 {
				r.Instructions = out[i].Instructions
			}
		}
		if i >= 0 {
			out[i] = r
		} else {
			out = append(out, r)
		}
	}
	return out, nil
}

// create puts what was said of memory into the request for a new agent.
func (e *memoryEdits) create(body fields) error {
	if len(e.add) == 0 && !e.notOwn && !e.learn {
		return nil
	}
	refs, err := e.refs(nil)
	if err != nil {
		return err
	}
	auto := map[string]any{"enabled": !e.notOwn}
	if e.learn {
		auto["extract"] = true
	}
	body["memory"] = map[string]any{"attached_stores": refs, "auto_memory": auto}
	return nil
}

// update puts the stores as they are to be into a request of a change, where
// anything was said of them.
func (e *memoryEdits) update(ctx context.Context, a *app, path string, body fields) error {
	if len(e.add)+len(e.remove) == 0 && !e.none {
		return nil
	}
	raw, err := a.call(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	var now struct {
		Memory struct {
			Stores []storeRef `json:"attached_stores"`
		} `json:"memory"`
	}
	if err := json.Unmarshal(raw, &now); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	refs, err := e.refs(now.Memory.Stores)
	if err != nil {
		return err
	}
	body["memory"] = map[string]any{"attached_stores": refs}
	return nil
}
