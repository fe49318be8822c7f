package config

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ReadFile reads a file for Parse. What can not be a configuration is not read: a device
// may have no end, and a pipe no writer. The error is of type Errors if it is that.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, Errors{{File: path, Line: 1, Col: 1, Key: "file", Value: whatFile(info.Mode()), Text: "expected a regular file"}}
	case info.Size() > maxSize:
		return nil, tooLarge(path, info.Size())
	}
	// It may grow meanwhile, and a file of /proc says that it has nothing.
	return Read(f, path)
}

// Read is the same for what is open: standard input, say, which may have no end.
func Read(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if len(data) > maxSize {
		return nil, Errors{{File: name, Line: 1, Col: 1, Key: "file", Value: "too large", Text: fmt.Sprintf("expected at most %d octets", maxSize)}}
	}
	return data, err
}

func tooLarge(file string, size int64) Errors {
	return Errors{{
		File: file, Line: 1, Col: 1, Key: "file", Value: fmt.Sprintf("%d octets", size),
		Text: fmt.Sprintf("expected at most %d", maxSize),
	}}
}

func whatFile(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	}
	return mode.Type().String()
}
