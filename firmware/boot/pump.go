package boot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"netd/netd/layout"
)

// logSize is when a log becomes NAME.log.1 and the next one begins.
const logSize = 1 << 20

// pump carries a service's output, line by line, to its log, and warnings, errors and
// what begins with layout.ToConsole to the console too. It outlives the service's restarts.
type pump struct {
	in *os.File // the end that the service writes to
}

func newPump(name, dir string, console io.Writer) (*pump, error) {
	log, err := openLog(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.f.Close())
	}
	go copyLines(r, name, log, console)
	return &pump{in: w}, nil
}

// loud finds what belongs on the console: slog's and logrus' levels, and the Go
// runtime's last words.
func loud() *regexp.Regexp {
	return regexp.MustCompile(`\blevel="?(?i:warn|warning|error|fatal|panic)\b|^(?:panic|fatal error): |^netd [a-z]+: `)
}

func copyLines(r io.Reader, name string, log *rotated, console io.Writer) {
	isLoud := loud()
	// A line that is longer than the buffer comes in pieces.
	in := bufio.NewReaderSize(r, 4096)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if writeErr := log.write(line); writeErr != nil {
				fmt.Fprintf(console, "netd init: log of %s: %v\r\n", name, writeErr)
			}
			if words, ok := bytes.CutPrefix(line, []byte(layout.ToConsole)); ok {
				fmt.Fprintf(console, "%s\r\n", trimEnd(words))
			} else if isLoud.Match(line) {
				fmt.Fprintf(console, "%s: %s\r\n", name, trimEnd(line))
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}

// rotated is a file of at most logSize, and the one before it.
type rotated struct {
	path string
	f    *os.File
	size int64
}

func openLog(path string) (*rotated, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &rotated{path: path, f: f, size: st.Size()}, nil
}

func (l *rotated) write(line []byte) error {
	if l.size+int64(len(line)) > logSize {
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return err
		}
		next, err := openLog(l.path)
		if err != nil {
			return err
		}
		l.f.Close()
		*l = *next
	}
	n, err := l.f.Write(line)
	l.size += int64(n)
	return err
}
