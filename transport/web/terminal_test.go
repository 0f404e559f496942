//go:build unix

package web_test

import (
	"context"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/creack/pty"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// shells plays the part of the runner that serves terminals, with a real shell
// at a real pseudo terminal for each.
func (w *work) shells() {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	w.t.Cleanup(func() { cancel(); all.Wait() })
	all.Go(func() {
		for ctx.Err() == nil {
			next, err := w.link.NextTerminal(ctx, 20*time.Second)
			if err != nil {
				return
			}
			if next != nil {
				all.Go(func() { w.shell(ctx, next) })
			}
		}
	})
}

// shell connects one terminal with a shell until that ends, or the person has
// gone.
func (w *work) shell(ctx context.Context, r *executor.TerminalRequest) {
	conn, err := w.link.JoinTerminal(ctx, r.ID)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-i")
	cmd.Env = []string{"PS1=> ", "TERM=xterm-256color", "PATH=/usr/bin:/bin"}
	cmd.WaitDelay = time.Second
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(r.Cols), Rows: uint16(r.Rows)})
	if err != nil {
		w.t.Error(err)
		return
	}
	defer func() { _ = tty.Close() }()
	var typing sync.WaitGroup
	defer typing.Wait()
	typing.Go(func() {
		for {
			f, err := conn.Receive(ctx)
			switch {
			case err != nil || f.Closed != nil:
				_ = cmd.Process.Kill()
				return
			case f.Size != nil:
				_ = pty.Setsize(tty, &pty.Winsize{Cols: uint16(f.Size.Cols), Rows: uint16(f.Size.Rows)})
			default:
				_, _ = tty.Write(f.Data)
			}
		}
	})
	for buffer := make([]byte, 4096); ; {
		n, err := tty.Read(buffer)
		if n > 0 && conn.Send(ctx, executor.TerminalFrame{Data: append([]byte(nil), buffer[:n]...)}) != nil || err != nil {
			break
		}
	}
	_ = cmd.Wait()
	code := cmd.ProcessState.ExitCode()
	_ = conn.Send(ctx, executor.TerminalFrame{Closed: &task.Terminal{Code: task.TerminalExited, Reason: "the shell has ended", Exit: &code}})
	_ = conn.Close()
}

// screenText is what the terminal in the page shows.
const screenText = `[...document.querySelectorAll(".xterm-rows > div")].map((e) => e.innerText).join("\n")`

// TestTakeOver: an editor types in a shell of the sandbox, sees its colours and
// its size, leaves it, and what it was stays in the transcript. A viewer may not.
func TestTakeOver(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Title: "At work", Prompt: "Work"})
	w.shells()
	tab := e.Open(t, w.path(), nil)
	tab.Wait(`document.querySelector("a[aria-label='Take over in a terminal']")?.target === "_blank"`)
	tab.Load(w.path() + "/terminal")
	tab.WaitText("you have taken over")
	tab.Wait(`document.activeElement?.className.includes("xterm")`)
	tab.Press("echo $((6*7))x" + kb.Enter)
	tab.Wait(screenText + `.includes("42x")`)
	tab.Press("printf '\\033[31mred\\033[0m\\033]0;evil\\007\\n'" + kb.Enter)
	tab.Wait(`[...document.querySelectorAll(".xterm-rows span")].some((s) => s.innerText === "red" && getComputedStyle(s).color !== getComputedStyle(document.querySelector(".xterm-rows")).color)`)
	assert.Equal(t, browser.Eval[string](tab, "document.title"), "Terminal · At work", "no program names the page")
	tab.Press("stty size" + kb.Enter)
	tab.Wait(`/\n\d+ \d+\s*\n/.test(` + screenText + `)`)
	tab.Accessible()
	tab.Save("terminal")

	watching := e.Open(t, w.path(), nil)
	watching.Wait(`document.querySelector(".ev-terminal .tool-state")?.innerText === "open"`)
	tab.Press("exit 3" + kb.Enter)
	tab.WaitText("The shell has ended.")
	watching.Wait(`document.querySelector(".ev-terminal .tool-state")?.innerText !== "open"`)
	tab.ClickName("Open another")
	tab.WaitText("you have taken over")

	w.share(task.VisibilityPrivate, "oscar")
	viewer := e.Tab(t, &browser.View{Key: e.Outsider})
	viewer.Load(w.path() + "/terminal")
	viewer.WaitText("You may not take over this run")
	w.end(task.StateSucceeded, task.Status{Message: "done"})
	tab.Wait(`!document.querySelector(".tool-state.live")`)
}
