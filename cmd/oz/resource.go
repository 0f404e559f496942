package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// column is one of a table, or a line of a single object: a jq expression says
// what stands there. A result of null or "" is left empty.
type column struct{ head, expr string }

// listing is a command that lists things of the API.
type listing struct {
	use, short, example string
	aliases             []string
	path, member        string // where, and the member of the answer that holds the list; "" if it is the answer
	columns             []column
	none                string // said when there is nothing
	shape               string // jq that the answer passes before a table is made of it; may be empty
	// query gives the command its flags, and what they ask for. May be nil.
	query func(*cobra.Command) func() (url.Values, error)
}

func (a *app) list(l listing) *cobra.Command {
	cmd := &cobra.Command{Use: l.use, Short: l.short, Example: l.example, Aliases: l.aliases, Args: noArgs}
	ask := func() (url.Values, error) { return nil, nil }
	if l.query != nil {
		ask = l.query(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := ask()
		if err != nil {
			return usageError{err}
		}
		raw, err := a.call(cmd.Context(), http.MethodGet, l.path, q, nil)
		if err != nil {
			return err
		}
		return a.showList(raw, l)
	}
	return a.filterFlag(cmd)
}

func (a *app) showList(raw json.RawMessage, l listing) error {
	if a.json() {
		return a.emitRaw(raw, l.member)
	}
	raw, err := shaped(raw, l.shape)
	if err != nil {
		return err
	}
	items, err := elements(raw, l.member)
	if err != nil {
		return err
	}
	if len(items) == 0 {
		a.say("%s", l.none)
		return nil
	}
	head := make([]string, len(l.columns))
	for i, c := range l.columns {
		head[i] = c.head
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		if rows[i], err = cells(item, l.columns); err != nil {
			return err
		}
	}
	return a.table(strings.Join(head, "|"), rows)
}

// shaped gives the answer as a jq expression makes it.
func shaped(raw json.RawMessage, expr string) (json.RawMessage, error) {
	if expr == "" {
		return raw, nil
	}
	value, err := plain(raw)
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	text, err := evaluateRaw(expr, value)
	return json.RawMessage(text), err
}

// elements gives the list in an answer.
func elements(raw json.RawMessage, member string) ([]json.RawMessage, error) {
	if member != "" {
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(raw, &whole); err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		raw = whole[member]
	}
	var items []json.RawMessage
	if len(raw) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return items, nil
}

// cells evaluates the columns for one object.
func cells(item json.RawMessage, columns []column) ([]string, error) {
	value, err := plain(item)
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	out := make([]string, len(columns))
	for i, c := range columns {
		if out[i], err = evaluate(c.expr, value); err != nil {
			return nil, fmt.Errorf("%s: %w", c.head, err)
		}
	}
	return out, nil
}

// evaluate gives an expression's results on one line, with times as the
// reader's clock has them.
func evaluate(expr string, value any) (string, error) {
	return results(expr, value, func(line string) string {
		if t, err := time.Parse(time.RFC3339Nano, line); err == nil {
			return t.Local().Format(time.DateTime)
		}
		return line
	})
}

// evaluateRaw gives an expression's results as they are.
func evaluateRaw(expr string, value any) (string, error) {
	return results(expr, value, func(line string) string { return line })
}

func results(expr string, value any, show func(string) string) (string, error) {
	code, err := compile(expr)
	if err != nil {
		return "", err
	}
	var lines []string
	for it := code.Run(value); ; {
		result, ok := it.Next()
		if !ok {
			return strings.Join(lines, ", "), nil
		}
		if err, failed := result.(error); failed {
			return "", err
		}
		if result == nil {
			continue
		}
		line, err := scalar(result)
		if err != nil {
			return "", err
		}
		if line != "" {
			lines = append(lines, show(line))
		}
	}
}

// item is a command that shows one thing of the API.
type item struct {
	use, short, example string
	argument            string // what its one argument is
	path                string // with %s for the argument
	lines               []column
}

func (a *app) get(g item) *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: g.use, Short: g.short, Example: g.example, Args: oneArg(g.argument),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, fmt.Sprintf(g.path, url.PathEscape(args[0])), nil, nil)
			if err != nil {
				return err
			}
			return a.showItem(raw, g.lines)
		}})
}

func (a *app) showItem(raw json.RawMessage, lines []column) error {
	if a.json() {
		return a.emitRaw(raw, "")
	}
	values, err := cells(raw, lines)
	if err != nil {
		return err
	}
	width := 0
	for i, c := range lines {
		if values[i] != "" {
			width = max(width, len(c.head))
		}
	}
	for i, c := range lines {
		if values[i] != "" {
			a.say("%-*s  %s", width, c.head, oneLine(values[i]))
		}
	}
	return nil
}

// removal is a command that deletes one thing of the API.
type removal struct {
	use, short, example string
	aliases             []string
	argument, noun      string
	path                string // with %s for the argument
}

func (a *app) remove(r removal) *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: r.use, Short: r.short, Example: r.example, Aliases: r.aliases, Args: oneArg(r.argument),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.sure(force, "Delete the %s %s?", r.noun, args[0]); err != nil {
				return err
			}
			if _, err := a.call(cmd.Context(), http.MethodDelete, fmt.Sprintf(r.path, url.PathEscape(args[0])), nil, nil); err != nil {
				return err
			}
			return a.done("The %s %s is deleted.", r.noun, args[0])
		}}
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	return cmd
}

// call asks the API and gives its answer as it came.
func (a *app) call(ctx context.Context, method, path string, q url.Values, body any) (json.RawMessage, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Call(ctx, method, path, q, body)
}

// change sends something to the API, and shows the thing that comes back.
func (a *app) change(ctx context.Context, method, path string, body any, lines []column, format string, args ...any) error {
	raw, err := a.call(ctx, method, path, nil, body)
	if err != nil {
		return err
	}
	if a.json() {
		return a.emitRaw(raw, "")
	}
	a.say(format, args...)
	return a.showItem(raw, lines)
}

// table prints rows: in pretty boxed by lines, in text by tabs alone.
func (a *app) table(head string, rows [][]string) error {
	if a.format == "text" {
		return plainTable(a.out, head, rows)
	}
	return table(a.out, head, rows)
}

func plainTable(w io.Writer, head string, rows [][]string) error {
	for _, r := range append([][]string{strings.Split(head, "|")}, rows...) {
		for i := range r {
			r[i] = oneLine(r[i])
		}
		if _, err := fmt.Fprintln(w, strings.Join(r, "\t")); err != nil {
			return err
		}
	}
	return nil
}

// showPath shows one thing of the API. path has %s for its id.
func (a *app) showPath(ctx context.Context, path, id string, lines []column) error {
	raw, err := a.call(ctx, http.MethodGet, fmt.Sprintf(path, url.PathEscape(id)), nil, nil)
	if err != nil {
		return err
	}
	return a.showItem(raw, lines)
}

// showText prints a text of a thing, behind what showItem said of it.
func (a *app) showText(raw json.RawMessage, expr string) error {
	value, err := plain(raw)
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	text, err := evaluateRaw(expr, value)
	if err != nil || text == "" {
		return err
	}
	_, err = fmt.Fprintf(a.cleaned(), "\n%s\n", strings.TrimRight(text, "\n"))
	return err
}

// listPath shows a list of the API. path has %s for the id of what it belongs to.
func (a *app) listPath(ctx context.Context, path, id string, l listing) error {
	raw, err := a.call(ctx, http.MethodGet, fmt.Sprintf(path, url.PathEscape(id)), nil, nil)
	if err != nil {
		return err
	}
	return a.showList(raw, l)
}
