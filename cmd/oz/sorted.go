package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// sortKey is one that a list can be sorted by: a word and a jq expression.
type sortKey struct{ word, expr string }

// sortedList is a list that is sorted here, by the first key unless told.
func (a *app) sortedList(l listing, keys ...sortKey) *cobra.Command {
	cmd := a.list(l)
	var words []string
	for _, k := range keys {
		words = append(words, k.word)
	}
	by := cmd.Flags().String("sort-by", words[0], strings.Join(words, ", "))
	order := cmd.Flags().String("sort-order", "asc", "asc or desc")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		i := slices.Index(words, *by)
		if i < 0 {
			return usageError{fmt.Errorf("--sort-by: %q is none of %s", *by, strings.Join(words, ", "))}
		}
		if *order != "asc" && *order != "desc" {
			return usageError{fmt.Errorf("--sort-order: %q is neither asc nor desc", *order)}
		}
		raw, err := a.call(cmd.Context(), http.MethodGet, l.path, nil, nil)
		if err != nil {
			return err
		}
		if raw, err = sorted(raw, l.member, keys[i].expr, *order == "desc"); err != nil {
			return err
		}
		return a.showList(raw, l)
	}
	return cmd
}

// sorted gives an answer with its list in order.
func sorted(raw json.RawMessage, member, expr string, desc bool) (json.RawMessage, error) {
	items, err := elements(raw, member)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, it := range items {
		value, err := plain(it)
		if err != nil {
			return nil, err
		}
		if keys[string(it)], err = evaluateRaw(expr, value); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(items, func(x, y json.RawMessage) int {
		if desc {
			x, y = y, x
		}
		return cmp.Compare(keys[string(x)], keys[string(y)])
	})
	whole := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, err
	}
	if items == nil {
		items = []json.RawMessage{}
	}
	if whole[member], err = json.Marshal(items); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}
