package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"netd/netd/internal/bgp"
)

// ChildSocket is where a role that is a child of the agent serves it.
func ChildSocket(runDir, role string) string { return filepath.Join(runDir, role, role+".sock") }

// newSpeaker makes the speaker; it is not started yet.
func (d *Daemon) newSpeaker(restarting bool) (*bgp.Speaker, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	c, err := d.speakerConfig()
	if err != nil {
		d.opts.Log.Error("peers", "err", err)
	}
	socket := ChildSocket(d.opts.RunDir, "bgp")
	return bgp.New(bgp.Options{
		Program: program, Args: []string{"bgp", "--socket", socket}, Socket: socket, Log: d.opts.Log,
	}, c, d.origins(), restarting), nil
}

const (
	// answerTimeout is how long the loop waits for an answer that costs the speaker
	// nothing; muteTimeout how long it goes on asking one that does not answer.
	answerTimeout = 3 * time.Second
	muteTimeout   = 20 * time.Second
)

// converse tells the speaker what to do and listens to what it knows. One that hangs
// must not keep the loop, on which BFD and the end of a trial wait: it is not asked
// for more than a sign of life, and killed if it gives none for too long.
func (d *Daemon) converse(ctx context.Context) error {
	if err := d.answers(ctx); err != nil {
		d.settled = false
		return err
	}
	return errors.Join(d.speak(ctx), d.listen(ctx), d.resetLost(ctx))
}

func (d *Daemon) answers(ctx context.Context) error {
	if d.speaker == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := d.speaker.Ping(ctx)
	switch {
	case err == nil || errors.Is(err, bgp.ErrAway):
		d.mute = time.Time{}
		return nil
	case d.mute.IsZero():
		d.mute = time.Now()
	case time.Since(d.mute) > muteTimeout:
		d.opts.Log.Error("the BGP speaker hangs and is killed", "silent_for", time.Since(d.mute).Round(time.Second))
		d.mute = time.Time{}
		d.speaker.Kill()
	}
	time.AfterFunc(answerTimeout, d.poke)
	return fmt.Errorf("the BGP speaker does not answer; routes stay as they are: %w", err)
}
