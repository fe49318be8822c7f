package containers

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/containerd/containerd/cio"
)

// The least and the most that one file of a pod's log may have, in octets.
const minLog, maxLog = 16 << 10, 1 << 20

func logPath(dir, pod string) string { return filepath.Join(dir, pod+".log") }

// logLimit is how long a pod's log may get, of which there is an older one too: a part of
// total. It is that of a number of pods that is a power of two, so that all keep to
// three times total, in whatever order they come.
func logLimit(total int64, pods int) int64 {
	shares := int64(16)
	for shares < int64(pods) {
		shares *= 2
	}
	return max(minLog, min(maxLog, total/(2*shares)))
}

// logTo has the shim write the log (containers/shim).
func logTo(path string, limit int64) (cio.Creator, error) {
	uri, err := cio.LogURIGenerator("file", path, map[string]string{"limit": strconv.FormatInt(limit, 10)})
	if err != nil {
		return nil, err
	}
	return cio.LogURI(uri), nil
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
