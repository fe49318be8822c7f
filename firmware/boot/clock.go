package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockPeriod is how often the time is saved: what a box without a battery may
// be behind after a power cut.
const clockPeriod = 10 * time.Minute

// setClock moves the clock forward to the later of the release's time and the
// last saved one. A clock that is later than both (a box with a battery) stays.
func setClock(manifestFile, savedFile string) error {
	released, err := releaseTime(manifestFile)
	saved, savedErr := readClock(savedFile)
	err = errors.Join(err, savedErr)
	latest := released
	if saved.After(latest) {
		latest = saved
	}
	if !time.Now().Before(latest) {
		return err
	}
	tv := unix.NsecToTimeval(latest.UnixNano())
	if setErr := unix.Settimeofday(&tv); setErr != nil {
		return errors.Join(err, fmt.Errorf("set the clock to %v: %w", latest, setErr))
	}
	return err
}

// releaseTime is when the running slot was built.
func releaseTime(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("the release's time: %w", err)
	}
	var m struct{ Built time.Time }
	if err := json.Unmarshal(b, &m); err != nil {
		return time.Time{}, fmt.Errorf("the release's time: %s: %w", path, err)
	}
	return m.Built, nil
}

// readClock returns the zero time if none was saved yet.
func readClock(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("the saved time: %w", err)
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}, fmt.Errorf("the saved time: %s: %w", path, err)
	}
	return t, nil
}

// saveClock replaces the file as a whole. It does not wait for the disk: a time
// that is lost is only an older one.
func saveClock(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("save the time: %w", err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(time.Now().UTC().Format(time.RFC3339)+"\n"), 0o644); err != nil {
		return fmt.Errorf("save the time: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("save the time: %w", err)
	}
	return nil
}
