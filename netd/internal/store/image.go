package store

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// image returns the content of a file that says s. bbolt writes it, into memory: it
// maps what it works on, and nobody can cut that short.
func image(s state) (content []byte, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("make an image of the state: %v", p)
		}
	}()
	db, err := bbolt.Open("state", 0o600, &bbolt.Options{
		Timeout: time.Second, NoSync: true, NoGrowSync: true,
		OpenFile: func(name string, _ int, _ os.FileMode) (*os.File, error) {
			fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
			if err != nil {
				return nil, os.NewSyscallError("memfd_create", err)
			}
			return os.NewFile(uintptr(fd), name), nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make an image of the state: %w", err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Update(func(tx *bbolt.Tx) error { return fill(tx, s) }); err != nil {
		return nil, fmt.Errorf("make an image of the state: %w", err)
	}
	var out bytes.Buffer
	err = db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(&out)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make an image of the state: %w", err)
	}
	return out.Bytes(), nil
}

// fill writes s into an empty file's buckets.
func fill(tx *bbolt.Tx, s state) error {
	meta, err := tx.CreateBucketIfNotExists([]byte(metaBucket))
	if err != nil {
		return err
	}
	put := func(b *bbolt.Bucket, key string, a netip.Addr) error {
		if !a.IsValid() {
			return nil
		}
		return b.Put([]byte(key), []byte(a.String()))
	}
	for _, f := range families() {
		if err := put(meta, f.last, f.of(s.last)); err != nil {
			return err
		}
		bucket, err := tx.CreateBucketIfNotExists([]byte(f.pods))
		if err != nil {
			return err
		}
		for _, pod := range slices.Sorted(maps.Keys(s.pods)) { // In order: bbolt appends then.
			if err := put(bucket, pod, f.of(s.pods[pod])); err != nil {
				return err
			}
		}
	}
	return nil
}
