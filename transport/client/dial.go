package client

import "github.com/oz-platform/cloudagents/executor"

// DialLink is NewLink with its defaults, in the form that runner.Main takes.
func DialLink(h executor.Handshake) (executor.Link, error) { return NewLink(h, nil) }
