package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Change asks for another configuration.
type Change struct {
	Do Do `json:"do"`
	// File is what errors call Text, which is the configuration itself. A reload
	// without Text reads the active file.
	File string `json:"file,omitempty"`
	Text string `json:"text,omitempty"`
	// Confirm is how long an applied configuration waits for its confirmation before
	// the former one comes back; 0 waits for none.
	Confirm time.Duration `json:"confirm_ns,omitempty"`
	// DryRun checks and compares, and touches nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// Do is what is to be done about the configuration.
type Do string

// The four things to do.
const (
	// Reload takes the file as it is now.
	Reload Do = "reload"
	// Apply makes Text the active file.
	Apply Do = "apply"
	// Confirm keeps what was applied on trial, Rollback ends the trial at once.
	Confirm  Do = "confirm"
	Rollback Do = "rollback"
)

// Changed is what came of a Change.
type Changed struct {
	// File that is in use now.
	File string `json:"file"`
	// Changes has a line for each value that differs from before.
	Changes  []string `json:"changes"`
	Warnings []string `json:"warnings,omitempty"`
	// Problems are what does not work yet.
	Problems []string `json:"problems,omitempty"`
	Trial    *Trial   `json:"trial,omitempty"`
}

// Trial is a configuration in use that nobody has confirmed yet.
type Trial struct {
	File string `json:"file"`
	// Until is when the former configuration comes back.
	Until time.Time `json:"until"`
}

// BadFile is the error of a configuration that is wrong: one line for each of its
// errors. Nothing was touched.
type BadFile struct{ Text string }

func (b BadFile) Error() string { return b.Text }

// maxRequest bounds a request's body in octets: a configuration has at most 1 MiB.
const maxRequest = 4 << 20

func configure(g Gateway) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var c Change
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&c); err != nil {
			respond(w, nil, badRequest{fmt.Errorf("read the request: %w", err)})
			return
		}
		done, err := g.Configure(r.Context(), c)
		respond(w, done, err)
	}
}

// Configure asks for another configuration. A file that is wrong is a BadFile.
func (c *Client) Configure(ctx context.Context, change Change) (Changed, error) {
	var done Changed
	body, err := json.Marshal(change)
	if err != nil {
		return done, fmt.Errorf("ask the agent: %w", err)
	}
	err = c.send(ctx, http.MethodPost, "/v1/configuration", bytes.NewReader(body), &done)
	return done, err
}

// failure turns the body of an answer that is not 200 back into the error.
func failure(resp *http.Response) error {
	var p problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("the agent answered %s", resp.Status)
	}
	if resp.StatusCode == http.StatusUnprocessableEntity {
		return BadFile{p.Error}
	}
	return errors.New(p.Error)
}
