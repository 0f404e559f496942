package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness"
)

// maxCompletion bounds a model's answer to complete, in bytes.
const maxCompletion = 1 << 20

type object = map[string]any

// complete asks the run's model one question, through the run's gateway, and
// gives what it says. It is booked under category.
func complete(ctx context.Context, m harness.Model, category, system, prompt string, maxTokens int) (string, error) {
	path, body := question(m, system, prompt, maxTokens)
	data, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode the question: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.BaseURL+path, bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("ask the model: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+m.Token.Reveal())
	req.Header.Set(gateway.CategoryHeader, category)
	if m.Wire == "anthropic" {
		req.Header.Set("Anthropic-Version", "2023-06-01")
	}
	client := &http.Client{Transport: &http.Transport{}} // the gateway is on this machine: no proxy
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the model: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxCompletion+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("ask the model: %w", err)
	case len(answer) > maxCompletion:
		return "", fmt.Errorf("the model's answer has more than %d bytes", maxCompletion)
	case res.StatusCode != http.StatusOK:
		return "", refusal(res.StatusCode, answer)
	}
	return spoken(answer)
}

// question is a request of the model's wire, for an answer in one piece.
func question(m harness.Model, system, prompt string, maxTokens int) (path string, body object) {
	switch m.Wire {
	case "openai":
		return "/openai/v1/chat/completions", object{"model": m.ID, "max_completion_tokens": maxTokens,
			"messages": []object{{"role": "system", "content": system}, {"role": "user", "content": prompt}}}
	case "gemini":
		text := func(s string) []object { return []object{{"text": s}} }
		return "/gemini/v1beta/models/" + m.ID + ":generateContent", object{"systemInstruction": object{"parts": text(system)},
			"contents": []object{{"role": "user", "parts": text(prompt)}}, "generationConfig": object{"maxOutputTokens": maxTokens}}
	}
	return "/anthropic/v1/messages", object{"model": m.ID, "max_tokens": maxTokens, "system": system,
		"messages": []object{{"role": "user", "content": prompt}}}
}

// spoken is the text of an answer of any of the wires.
func spoken(answer []byte) (string, error) {
	type part struct {
		Text    string
		Thought bool
	}
	var a struct {
		Content []part // Anthropic Messages
		Choices []struct{ Message struct{ Content string } }
		// Gemini
		Candidates []struct{ Content struct{ Parts []part } }
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return "", errors.New("the model's answer cannot be read")
	}
	for _, c := range a.Candidates {
		a.Content = append(a.Content, c.Content.Parts...)
	}
	var text strings.Builder
	for _, c := range a.Choices {
		text.WriteString(c.Message.Content)
	}
	for _, p := range a.Content {
		if !p.Thought {
			text.WriteString(p.Text)
		}
	}
	return text.String(), nil
}

// refusal says why there is no answer, in the gateway's words.
func refusal(status int, answer []byte) error {
	var e struct{ Error struct{ Message string } }
	if json.Unmarshal(answer, &e) != nil || e.Error.Message == "" {
		return fmt.Errorf("the model call was answered with status %d", status)
	}
	return errors.New(cut(strings.TrimSuffix(e.Error.Message, "."), 1000))
}
