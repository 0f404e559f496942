package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

func (a *app) runMessageCommand() *cobra.Command {
	return group("message", "Send and read messages between runs", nil, a.mailSendCommand(), a.mailListCommand(), a.mailWatchCommand(),
		a.mailReadCommand(), a.mailDeliveredCommand())
}

func (a *app) mailSendCommand() *cobra.Command {
	var to []string
	var subject, body, from string
	cmd := &cobra.Command{Use: "send", Short: "Send a message from one run to others", Args: noArgs,
		Example: "  oz run message send --to RUN_A,RUN_B --subject 'Interface changed' --body 'Use v2 of the client.' --sender-run-id RUN_ID",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				from = a.currentRun()
			}
			for _, f := range []struct{ flag, value string }{{"to", strings.Join(to, "")}, {"subject", subject}, {"body", body}, {"sender-run-id", from}} {
				if f.value == "" {
					return usageError{fmt.Errorf("--%s is needed", f.flag)}
				}
			}
			raw, err := a.call(cmd.Context(), http.MethodPost, "/agent/messages", nil,
				fields{"to": to, "subject": subject, "body": body, "sender_run_id": from})
			if err != nil {
				return err
			}
			return a.showItem(raw, []column{{"Sent", `.message_ids | join(", ")`}})
		}}
	f := cmd.Flags()
	f.StringSliceVar(&to, "to", nil, "`run` that gets it; repeat, or separate by commas")
	f.StringVar(&subject, "subject", "", "what it is about")
	f.StringVar(&body, "body", "", "the `text`")
	f.StringVar(&from, "sender-run-id", "", "`run` that sends it (env OZ_RUN_ID)")
	return a.filterFlag(cmd)
}

// currentRun is the run that this command is part of (Oz command line,
// environment variables).
func (a *app) currentRun() string {
	if id := a.env("OZ_RUN_ID"); id != "" {
		return id
	}
	return a.env("WARP_RUN_ID")
}

func (a *app) mailListCommand() *cobra.Command {
	var unread bool
	var since string
	var limit int
	cmd := &cobra.Command{Use: "list <RUN_ID>", Short: "List the messages to a run, oldest first", Args: oneArg("run id"),
		Example: "  oz run message list RUN_ID --unread",
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return usageError{errors.New("--limit: must be at least 1")}
			}
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if unread {
				q.Set("unread", "true")
			}
			if since != "" {
				t, err := time.Parse(time.RFC3339, since)
				if err != nil {
					return usageError{fmt.Errorf("--since: %q is not a time like 2026-01-31T09:00:00Z", since)}
				}
				q.Set("since", t.UTC().Format(time.RFC3339Nano))
			}
			raw, err := a.call(cmd.Context(), http.MethodGet, "/agent/messages/"+url.PathEscape(args[0]), q, nil)
			if err != nil {
				return err
			}
			return a.showList(raw, listing{none: "No messages.", columns: []column{{"MESSAGE", ".message_id"}, {"FROM", ".sender_run_id"},
				{"SUBJECT", ".subject"}, {"SENT", ".sent_at"}, {"READ", `.read_at // "unread"`}}})
		}}
	cmd.Flags().BoolVar(&unread, "unread", false, "only those that were not read")
	cmd.Flags().StringVar(&since, "since", "", "only those sent after this RFC 3339 `time`")
	cmd.Flags().IntVarP(&limit, "limit", "L", 50, "how many, at most 100")
	return a.filterFlag(cmd)
}

func (a *app) mailReadCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "read <MESSAGE_ID>", Short: "Show a message, and mark it as read", Args: oneArg("message id"),
		Example: "  oz run message read MESSAGE_ID --jq .body",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodPost, "/agent/messages/"+url.PathEscape(args[0])+"/read", nil, nil)
			if err != nil {
				return err
			}
			err = a.showItem(raw, []column{{"Message", ".message_id"}, {"From", ".sender_run_id"}, {"Sent", ".sent_at"}, {"Subject", ".subject"}})
			if err != nil || a.json() {
				return err
			}
			return a.showText(raw, ".body")
		}})
}

func (a *app) mailDeliveredCommand() *cobra.Command {
	return &cobra.Command{Use: "mark-delivered <MESSAGE_ID>", Aliases: []string{"delivered"}, Short: "Acknowledge a message", Args: oneArg("message id"),
		Example: "  oz run message mark-delivered MESSAGE_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.call(cmd.Context(), http.MethodPost, "/agent/messages/"+url.PathEscape(args[0])+"/delivered", nil, nil); err != nil {
				return err
			}
			return a.done("Message %s is marked as delivered.", args[0])
		}}
}

func (a *app) mailWatchCommand() *cobra.Command {
	var since int64
	cmd := &cobra.Command{Use: "watch <RUN_ID>", Short: "Show new messages to a run as they come, until interrupted", Args: oneArg("run id"),
		Long: `Show the messages that arrive for a run, one after another, until the command is
interrupted. Each has a sequence number; after an interruption, the watch goes on
behind the last one that was seen with --since-sequence. Reading marks nothing.`,
		Example: "  oz run message watch RUN_ID --output-format ndjson",
		RunE: func(cmd *cobra.Command, args []string) error {
			if since < 0 {
				return usageError{errors.New("--since-sequence: must be at least 0")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			a.wire.follow(true)
			defer a.wire.follow(false)
			return a.watchMail(cmd.Context(), c, task.ID(args[0]), since)
		}}
	cmd.Flags().Int64Var(&since, "since-sequence", 0, "begin after the message of this `number`")
	return cmd
}

// The pace of watching: how long to wait when there was nothing new, and after
// each failure in a row (Oz command line, run message watch).
const mailPause = time.Second

var mailBackoff = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}

// mailSeen is one message that arrived, as programs read it.
type mailSeen struct {
	Sequence  int64     `json:"sequence"`
	MessageID string    `json:"message_id"`
	RunID     task.ID   `json:"run_id"`
	Sender    task.ID   `json:"sender_run_id,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Occurred  time.Time `json:"occurred_at"`
}

// watchMail polls, and begins again behind the last message after failures.
func (a *app) watchMail(ctx context.Context, c *client.Client, id task.ID, since int64) error {
	if _, err := c.Get(ctx, id); err != nil { // a wrong address or id is found out before
		return err
	}
	failed := 0
	for {
		signals, err := c.Signals(ctx, task.SignalQuery{Tasks: []task.ID{id}, After: since})
		if err == nil {
			since, err = a.showMails(ctx, c, signals, since)
		}
		pause := mailPause
		switch {
		case err != nil && !task.CodeOf(err).Retryable():
			return err
		case err != nil:
			pause = mailBackoff[min(failed, len(mailBackoff)-1)]
			failed++
		default:
			failed = 0
		}
		if err == nil && len(signals) > 0 {
			continue // there may be more
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// showMails shows the messages among signals and gives the number of the last
// signal that is done with.
func (a *app) showMails(ctx context.Context, c *client.Client, signals []task.Signal, since int64) (int64, error) {
	for _, s := range signals {
		if s.Seq <= since {
			continue
		}
		if s.Type == task.SignalNewMessage {
			seen := mailSeen{Sequence: s.Seq, MessageID: s.Ref, RunID: s.TaskID, Occurred: s.Time}
			// A signal names the message only; its head is among those sent then.
			heads, err := c.Mails(ctx, task.MailQuery{To: s.TaskID, Since: s.Time.Add(-time.Minute), Limit: 100})
			if err != nil {
				return since, err
			}
			for _, m := range heads {
				if string(m.ID) == s.Ref {
					seen.Sender, seen.Subject = m.From, m.Subject
				}
			}
			if err := a.showMail(seen); err != nil {
				return since, err
			}
		}
		since = s.Seq
	}
	return since, nil
}

func (a *app) showMail(m mailSeen) error {
	if a.json() {
		return a.emitLine(m)
	}
	a.say("%d  %s  %s  from %s: %s", m.Sequence, m.Occurred.Local().Format(time.DateTime), m.MessageID, m.Sender, oneLine(m.Subject))
	return nil
}
