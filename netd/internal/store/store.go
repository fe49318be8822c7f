package store

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockTimeout bounds the wait for the file's lock. There is one agent at a time
// already, so only a stray tool can hold it.
const lockTimeout = 2 * time.Second

var metaBucket = []byte("meta")

// family says where one family's addresses are. IPv4's are where they were before
// there was IPv6: an older release, to which a box may fall back, reads them there,
// and does not look at the others.
type family struct {
	bits       int // of an address
	pods, last []byte
}

func families() []family {
	return []family{
		{32, []byte("pods"), []byte("last-address")},
		{128, []byte("pods6"), []byte("last-address6")},
	}
}

// of returns the family's address, invalid if there is none.
func (f family) of(addresses []netip.Addr) netip.Addr {
	for _, a := range addresses {
		if a.BitLen() == f.bits {
			return a
		}
	}
	return netip.Addr{}
}

// DB is the open file.
type DB struct{ db *bbolt.DB }

// Open opens or creates the file. A file that is torn is put aside as
// PATH.torn-TIME and a new one begun: a gateway with no memory serves, a gateway
// that refuses to start does not. The log says so.
func Open(path string, log *slog.Logger) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	db, err := open(path)
	if err == nil {
		return db, nil
	}
	if !torn(err) {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	aside := fmt.Sprintf("%s.torn-%d", path, time.Now().Unix())
	log.Error("the state file is torn: it is put aside and the gateway starts without it; pods may get other addresses",
		"file", path, "aside", aside, "err", err)
	if err := os.Rename(path, aside); err != nil {
		return nil, fmt.Errorf("put torn state aside: %w", err)
	}
	if db, err = open(path); err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return db, nil
}

// tornError marks damage of the content, as opposed to an error of the system.
type tornError struct{ reason string }

func (e tornError) Error() string { return e.reason }

func torn(err error) bool {
	var t tornError
	return errors.As(err, &t) || errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) ||
		errors.Is(err, bolterrors.ErrVersionMismatch)
}

// open opens the file and reads every page of it once. bbolt panics on some
// damaged pages; that too is a torn file.
func open(path string) (d *DB, err error) {
	var db *bbolt.DB
	defer func() {
		if p := recover(); p != nil {
			d, err = nil, tornError{fmt.Sprint(p)}
		}
		if err != nil && db != nil {
			_ = db.Close()
		}
	}()
	// A file shorter than its two meta pages makes bbolt say "file size too
	// small" without a type that could be asked for; an empty one is new.
	if st, err := os.Stat(path); err == nil && st.Size() > 0 && st.Size() < int64(4*os.Getpagesize()) {
		return nil, tornError{fmt.Sprintf("file of %d octets is shorter than an empty one", st.Size())}
	}
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return nil, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		var first error
		for e := range tx.Check() { // The channel must be drained.
			if first == nil {
				first = tornError{e.Error()}
			}
		}
		return first
	})
	if err != nil {
		return nil, err
	}
	return &DB{db}, nil
}

// Close ends the use of the file.
func (d *DB) Close() error { return d.db.Close() }

// Load returns all pods' addresses, IPv4 first, and those given out last.
func (d *DB) Load() (map[string][]netip.Addr, []netip.Addr, error) {
	pods := map[string][]netip.Addr{}
	var last []netip.Addr
	err := d.db.View(func(tx *bbolt.Tx) error {
		for _, f := range families() {
			if meta := tx.Bucket(metaBucket); meta != nil {
				if a, err := netip.ParseAddr(string(meta.Get(f.last))); err == nil {
					last = append(last, a)
				}
			}
			b := tx.Bucket(f.pods)
			if b == nil {
				continue
			}
			err := b.ForEach(func(pod, addr []byte) error {
				a, err := netip.ParseAddr(string(addr))
				if err != nil {
					return fmt.Errorf("pod %s: %w", pod, err)
				}
				pods[string(pod)] = append(pods[string(pod)], a)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return pods, last, err
}

// Assign records the pod's addresses, at most one of a family and in the place of
// those that it had, and which were given out last.
func (d *DB) Assign(pod string, addresses, last []netip.Addr) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		for _, f := range families() {
			pods, err := tx.CreateBucketIfNotExists(f.pods)
			if err != nil {
				return err
			}
			if err := put(meta, f.last, f.of(last)); err != nil {
				return err
			}
			if err := put(pods, []byte(pod), f.of(addresses)); err != nil {
				return err
			}
		}
		return nil
	})
}

// put writes an address, or that there is none.
func put(b *bbolt.Bucket, key []byte, a netip.Addr) error {
	if !a.IsValid() {
		return b.Delete(key)
	}
	return b.Put(key, []byte(a.String()))
}

// Release forgets the pod.
func (d *DB) Release(pod string) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		for _, f := range families() {
			if b := tx.Bucket(f.pods); b != nil {
				if err := b.Delete([]byte(pod)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Unavailable stands in for a file that could not be opened: it knows nothing,
// and whatever must be durable is refused with the reason.
type Unavailable struct{ Reason error }

// Load finds nothing.
func (u Unavailable) Load() (map[string][]netip.Addr, []netip.Addr, error) {
	return map[string][]netip.Addr{}, nil, nil
}

// Assign refuses.
func (u Unavailable) Assign(string, []netip.Addr, []netip.Addr) error { return u.Reason }

// Release refuses.
func (u Unavailable) Release(string) error { return u.Reason }
