package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// A harness gets a loopback URL and a token; the provider's key stays here.
func ExampleGateway_Run() {
	model, err := scripted.New(scripted.Script{Steps: []scripted.Step{
		{Text: "Hello.", Usage: &scripted.Usage{Input: 1000, Output: 100}},
	}}, &scripted.Options{APIKey: "the-real-key"})
	if err != nil {
		fmt.Println(err)
		return
	}
	at, err := model.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer at.Close()

	gw, err := gateway.New([]gateway.Provider{{
		Name: "anthropic", Wire: gateway.Anthropic, BaseURL: at.AnthropicURL,
		APIKey: gateway.NewKey("the-real-key"), Models: []string{"claude-*"},
	}}, &gateway.Options{
		Aliases: map[string]string{"auto": "claude-sonnet-4-5"},
		Budget:  gateway.Budget{MaxUSD: 0.01},
		OnCall: func(c gateway.Call) {
			fmt.Printf("call %d: %s %s, %d tokens, $%.4f\n", c.Number, c.Model, c.StopReason, c.Usage.Total(), c.Cost.Total())
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	err = gw.Run(ctx, func(at gateway.Endpoint) {
		go func() {
			defer stop()
			harness(at)
		}()
	})
	fmt.Println(err)
	// Output:
	// call 1: claude-sonnet-4-5 end_turn, 1100 tokens, $0.0045
	// 200 OK
	// <nil>
}

// harness stands for any agent that is given a base URL and a key.
func harness(at gateway.Endpoint) {
	req, err := http.NewRequest(http.MethodPost, at.AnthropicURL+"/v1/messages",
		strings.NewReader(`{"model":"auto","max_tokens":100,"messages":[{"role":"user","content":"Hi!"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header.Set("X-Api-Key", at.Token)
	req.Header.Set("Anthropic-Version", "2023-06-01")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	fmt.Println(res.Status)
}
