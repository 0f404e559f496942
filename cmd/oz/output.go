package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// emit prints a value for programs: indented JSON, or one line in ndjson.
func (a *app) emit(v any) error {
	if a.filter.code != nil {
		return a.filter.print(a.out, v)
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	if a.format != "ndjson" {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}

// emitLine prints a value of a stream: one line, in ndjson and json alike.
func (a *app) emitLine(v any) error {
	if a.filter.code != nil {
		return a.filter.print(a.out, v)
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// emitEach prints a list: whole in json, an element a line in ndjson.
func emitEach[T any](a *app, whole any, list []T) error {
	if a.format != "ndjson" || a.filter.code != nil {
		return a.emit(whole)
	}
	for _, v := range list {
		if err := a.emit(v); err != nil {
			return err
		}
	}
	return nil
}

// emitRaw prints the server's own answer. In ndjson the elements of the member
// list, if it is named, come one a line.
func (a *app) emitRaw(raw json.RawMessage, list string) error {
	if a.format != "ndjson" || a.filter.code != nil || list == "" && !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		return a.emit(raw)
	}
	items, err := elements(raw, list)
	if err != nil {
		return err
	}
	return emitEach(a, raw, items)
}

// table prints rows in columns under a head.
func table(w io.Writer, head string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, strings.ReplaceAll(head, "|", "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = oneLine(r[i])
		}
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}

// oneLine keeps a cell in its row, and control characters off the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

// runColumns show runs in a list (Oz API, RunItem). The time of work is that
// of the executions that have ended.
var runColumns = []column{
	{"RUN", ".run_id"}, {"STATE", ".state"}, {"TITLE", ".title"}, {"CREATOR", ".creator.display_name"}, {"SOURCE", ".source"}, {"CREATED", ".created_at"},
	{"TIME", spanExpr},
}

// spanExpr writes a run's time of work as people do.
const spanExpr = `(.oz.run_time_ms // 0) / 1000 | floor | if . >= 3600 then "\(. / 3600 | floor)h\(. % 3600 / 60 | floor)m" elif . >= 60 then "\(. / 60 | floor)m\(. % 60)s" else "\(.)s" end`

// nestRuns puts children that are on the page below their parents.
const nestRuns = `(.runs | map({key: .run_id, value: true}) | from_entries) as $here | (.runs | group_by(.parent_run_id // "") | map({key: (.[0].parent_run_id // ""), value: .}) | from_entries) as $by |
	def below($depth): ., (($by[.run_id] // [])[] | .title = ("   " * $depth) + "└ " + .title | below($depth + 1));
	.runs |= [.[] | select($here[.parent_run_id // ""] | not) | below(0)]`

func (a *app) showRuns(raw json.RawMessage) error {
	err := a.showList(raw, listing{member: "runs", columns: runColumns, shape: nestRuns, none: "No runs. Start one with 'oz agent run-cloud --prompt ...'."})
	if err != nil || a.json() {
		return err
	}
	var page struct {
		Info struct {
			Next string `json:"next_cursor"`
		} `json:"page_info"`
	}
	if err := json.Unmarshal(raw, &page); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if page.Info.Next != "" {
		a.say("\nMore: --cursor %s", page.Info.Next)
	}
	return nil
}

// runLines show one run (Oz API, RunItem).
var runLines = []column{
	{"Run", ".run_id"}, {"Title", ".title"}, {"State", ".state"}, {"Message", ".status_message.message"}, {"Error code", ".status_message.error_code"},
	{"Kept", `.status_message.session_debug_until | if . then "for inspection, until " + . + " at the latest" else null end`},
	{"Question", `.status_message.question | if . then .text + (if .choices then " (" + (.choices | join(", ")) + ")" else "" end) + (if .expires_at then ", until " + .expires_at else "" end) else null end`},
	{"Creator", ".creator.display_name"}, {"Executed as", "if .executor.uid != .creator.uid then .executor.display_name else null end"},
	{"Source", `.source + " (" + .execution_location + ")"`}, {"Schedule", ".schedule.schedule_name"}, {"Created", ".created_at"}, {"Work time", spanExpr},
	{"Name", ".agent_config.name"}, {"Model", ".agent_config.model_id"}, {"Environment", ".agent_config.environment_id"}, {"Skill", ".agent_config.skill_spec"},
	{"Worker", ".agent_config.worker_host"}, {"Conversation", "if .conversation_id != .run_id then .conversation_id else null end"}, {"Parent", ".parent_run_id"},
	{"Usage", `.request_usage | if . == null or (.total_tokens // 0) == 0 then "" else "\(.total_tokens) tokens" + (if .inference_cost_usd then ", " + (.inference_cost_usd | ` + dollars + `) else "" end) end`},
	{"Artifacts", `[.artifacts[]? | (.artifact_type | ascii_downcase | gsub("_"; " ")) + " " + (.data | .url // .filename // .title // .filepath // "") +
		(.data | if .branch then " (branch " + .branch + ")" else "" end) + (.data.artifact_uid | if . then " [" + . + "]" else "" end)] | join(", ")`},
	{"Page", ".session_link"}, {"Prompt", ".prompt"},
}
