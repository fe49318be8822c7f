package containers

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// repair clears root when a database or a folder of containerd's can not be read: after
// a torn write, or a repair of the file system, containerd would end at every start, or
// start no pod, and the gateway would be without pods for good. Nothing is lost, because
// root holds only what is made again from the image archives and the configuration.
func repair(root string, log *slog.Logger) error {
	trash := filepath.Join(root, "broken")
	for _, part := range []struct {
		name string
		read func(path string) error
	}{
		{"io.containerd.metadata.v1.bolt", readFolder},
		{"io.containerd.metadata.v1.bolt/meta.db", readDatabase},
		{"io.containerd.snapshotter.v1.overlayfs", readFolder},
		{"io.containerd.snapshotter.v1.overlayfs/snapshots", readFolder},
		{"io.containerd.snapshotter.v1.overlayfs/metadata.db", readDatabase},
		{"io.containerd.content.v1.content", readFolder},
		{"io.containerd.content.v1.content/ingest", readFolder},
		{"io.containerd.content.v1.content/blobs", readFolder},
		{"io.containerd.content.v1.content/blobs/sha256", readFolder},
		{"io.containerd.runtime.v2.task", readFolder},
		{"tmpmounts", readFolder},
	} {
		err := part.read(filepath.Join(root, part.name))
		if err == nil {
			continue
		}
		if !isBroken(err) {
			return err
		}
		log.Error("what containerd keeps is broken: all images and containers are made again", "err", err)
		if err := discard(root, trash); err != nil {
			return err
		}
		break
	}
	// Also what an earlier run could not remove.
	if err := os.RemoveAll(trash); err != nil {
		log.Warn("containerd's old data stay", "err", err)
	}
	return nil
}

// discard moves everything in root to trash: that is quick and needs no space,
// where removing it may fail half-way.
func discard(root, trash string) error {
	if err := os.RemoveAll(trash); err != nil {
		return err
	}
	if err := os.Mkdir(trash, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(trash) {
			continue
		}
		if err := os.Rename(filepath.Join(root, e.Name()), filepath.Join(trash, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// brokenError is a database or a folder whose content makes no sense.
type brokenError struct {
	path  string
	cause any
}

func (e *brokenError) Error() string { return fmt.Sprintf("read %s: %v", e.path, e.cause) }

func isBroken(err error) bool {
	var broken *brokenError
	return errors.As(err, &broken)
}

// readFolder lists a folder. One that does not exist is fine.
func readFolder(path string) error {
	if _, err := os.ReadDir(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return &brokenError{path, err}
	}
	return nil
}

// readDatabase reads all of a bbolt file. One that does not exist is fine.
func readDatabase(path string) (err error) {
	switch st, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Size() == 0:
		return &brokenError{path, "it is empty"}
	}
	// bbolt panics on a page that makes no sense, and the kernel sends SIGBUS
	// for one beyond the end of a file cut short.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &brokenError{path, r}
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("open %s: another process has it open", path)
	case errors.As(err, new(*os.PathError)):
		return err
	case err != nil:
		return &brokenError{path, err}
	}
	defer func() { _ = db.Close() }() // read only
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
	})
	if err != nil {
		return &brokenError{path, err}
	}
	return nil
}

func walk(b *bbolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return walk(b.Bucket(k))
		}
		return nil
	})
}
