package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Client asks an agent.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client of the agent behind the socket; nothing is opened yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DialContext: dial}}}
}

// Get reads what is at path, such as /v1/status, into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	return c.do(ctx, http.MethodGet, path, v)
}

// Explain asks which way packets to an address or prefix go.
func (c *Client) Explain(ctx context.Context, query string) (Explanation, error) {
	var e Explanation
	err := c.Get(ctx, "/v1/explain?prefix="+url.QueryEscape(query), &e)
	return e, err
}

// AddPod makes a pod's network.
func (c *Client) AddPod(ctx context.Context, name string) (Pod, error) {
	var p Pod
	err := c.do(ctx, http.MethodPut, "/v1/pods/"+url.PathEscape(name), &p)
	return p, err
}

// RemovePod takes it away.
func (c *Client) RemovePod(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/v1/pods/"+url.PathEscape(name), new(struct{}))
}

// Metrics are what Prometheus reads.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	var text plain
	err := c.do(ctx, http.MethodGet, "/metrics", &text)
	return string(text), err
}

// plain is an answer that is no JSON.
type plain []byte

func (c *Client) do(ctx context.Context, method, path string, v any) error {
	return c.send(ctx, method, path, nil, v)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://netd"+path, body)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no agent answers on %s: is netd run running?", c.socket)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: permission denied: the agent's socket is root's", c.socket)
	case err != nil && endedByAgent(err):
		return fmt.Errorf("the agent on %s ended the connection: it has ended, or has %d clients already, of which each ends within %s", c.socket, clients, requestTimeout)
	case err != nil:
		return fmt.Errorf("ask the agent on %s: %w", c.socket, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return failure(resp)
	}
	if text, ok := v.(*plain); ok {
		*text, err = io.ReadAll(resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(v)
	}
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	return nil
}

// endedByAgent tells whether the agent took a connection and ended it without an answer.
func endedByAgent(err error) bool {
	// net/http does not export what it says if the end came before the request was written.
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) ||
		strings.Contains(err.Error(), "server closed idle connection")
}
