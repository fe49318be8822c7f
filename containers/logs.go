package containers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

const logMost = 1 << 20

func logPath(dir, pod string) string { return filepath.Join(dir, pod+".log") }

// turnLogs moves what a pod's log has too much of to POD.log.1. The shim keeps
// the file open for appending, so it is cut, not renamed; a line that comes
// between copy and cut is lost.
func turnLogs(dir string, pods []string, total int64) error {
	if len(pods) == 0 {
		return nil
	}
	limit := min(logMost, total/int64(2*len(pods)))
	var errs []error
	for _, pod := range pods {
		if err := turnLog(logPath(dir, pod), limit); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("turn the log of pod %s: %w", pod, err))
		}
	}
	return errors.Join(errs...)
}

func turnLog(path string, limit int64) error {
	st, err := os.Stat(path)
	if err != nil || st.Size() <= limit {
		return err
	}
	tail, err := readTail(path, limit)
	if err != nil {
		return err
	}
	// Also when the copy fails, for want of space: the pod would block.
	return errors.Join(os.WriteFile(path+".1", tail, 0o640), os.Truncate(path, 0))
}

// readTail reads at most the last n octets of a file.
func readTail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, st.Size()-n), n))
}

// lastLine is the last line that a pod has written, for the reason of its end.
func lastLine(dir, pod string) string {
	tail, err := readTail(logPath(dir, pod), 512)
	if err != nil {
		return ""
	}
	tail = bytes.TrimSpace(tail)
	line := string(tail[bytes.LastIndexByte(tail, '\n')+1:])
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line))
}

func removeLogs(dir, pod string) {
	_ = os.Remove(logPath(dir, pod))
	_ = os.Remove(logPath(dir, pod) + ".1") // it may have written little
}
