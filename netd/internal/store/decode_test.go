package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// stateFile returns a file as a former release leaves it: written in place, pod by
// pod, by bbolt.
func stateFile(t testing.TB, pods map[string]string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "former.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for pod, addr := range pods {
		err := db.Update(func(tx *bbolt.Tx) error {
			for bucket, record := range map[string][2]string{"pods": {pod, addr}, "meta": {"last-address", addr}, "pods6": {}} {
				b, err := tx.CreateBucketIfNotExists([]byte(bucket))
				if err != nil {
					return err
				}
				if record[0] != "" {
					if err := b.Put([]byte(record[0]), []byte(record[1])); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// twenty are the pods of a busy gateway.
func twenty() map[string]string {
	pods := map[string]string{}
	for i := range 20 {
		pods[fmt.Sprint("web-", i)] = fmt.Sprintf("10.64.1.%d", i)
	}
	return pods
}

func validName(pod string) bool {
	return len(pod) > 0 && len(pod) < 64 && strings.Trim(pod, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// sane says what is wrong with a state, whatever it was made of.
func sane(s state) error {
	holders := map[netip.Addr]string{}
	for pod, as := range s.pods {
		if !validName(pod) || len(as) == 0 || len(as) > 2 {
			return fmt.Errorf("pod %q has %v", pod, as)
		}
		for _, a := range as {
			if other, taken := holders[a]; taken || !a.IsValid() || a.IsUnspecified() {
				return fmt.Errorf("pod %q has %s, and so has %q", pod, a, other)
			}
			holders[a] = pod
		}
	}
	return nil
}

// look is what Open makes of a file's content.
func look(data []byte) (state, []string) {
	records, damage := decode(data, buckets())
	s, bad := stateOf(records, validName)
	return s, append(damage, bad...)
}

// checksum makes the heads whole again after they were changed.
func checksum(data []byte) {
	for _, head := range []int{0, os.Getpagesize()} {
		m := data[head+16:][:64]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:56])
		binary.NativeEndian.PutUint64(m[56:], sum.Sum64())
	}
}

// Any octet of a file may be any other: what is read is sane, a change in what counts
// costs few pods, and one of an address or name is only that pod's.
func TestEveryOctet(t *testing.T) {
	content := stateFile(t, twenty())
	s, damage := look(content)
	if len(s.pods) != 20 || len(damage) != 0 {
		t.Fatalf("the whole file: %d pods, damage %q", len(s.pods), damage)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var lost [21]int
	for at := range content {
		for i, value := range []byte{byte(r.Uint32()), content[at] ^ 1<<r.IntN(8)} {
			if i > 0 && content[at] == 0 {
				continue
			}
			for _, mended := range []bool{false, true} {
				data := bytes.Clone(content)
				data[at] = value
				if mended {
					if at > 2*os.Getpagesize() {
						continue
					}
					checksum(data)
				}
				s, _ := look(data)
				if err := sane(s); err != nil {
					t.Fatalf("octet %d is %#x instead of %#x: %v", at, value, content[at], err)
				}
				lost[20-min(20, len(s.pods))]++
			}
		}
	}
	t.Logf("%d octets; by how many of the 20 pods were lost: %v", len(content), lost)
}

// The same of a whole Open, with what it writes then: a sample.
func TestOpenAnyFile(t *testing.T) {
	content := stateFile(t, twenty())
	page := os.Getpagesize()
	r := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	try := func(what string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, "state.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l := &log{}
		db := open(options(path, l), nosync)
		pods, _, fresh := db.Load()
		if err := sane(state{pods: pods}); err != nil || !fresh {
			t.Fatalf("%s: %v, fresh %v", what, err, fresh)
		}
		if err := answer(t, db.Put("new", addresses("10.64.9.9"), nil)); err != nil {
			t.Fatalf("%s: put: %v", what, err)
		}
		if err := db.Close(context.Background()); err != nil {
			t.Fatalf("%s: close: %v", what, err)
		}
		written, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if s, damage := look(written); len(damage) > 0 || !slices.Equal(s.pods["new"], addresses("10.64.9.9")) || len(s.pods) < len(pods) {
			t.Fatalf("%s: what was written has %d pods of %d, damage %q", what, len(s.pods), len(pods), damage)
		}
	}
	for range 600 {
		data := bytes.Clone(content)
		at := r.IntN(len(data))
		data[at] = byte(r.Uint32())
		try(fmt.Sprintf("octet %d is %#x", at, data[at]), data)
	}
	for size := 0; size < len(content); size += 1 + r.IntN(200) {
		try(fmt.Sprintf("cut to %d", size), content[:size])
	}
	for range 300 {
		data := bytes.Clone(content)
		from, n := r.IntN(len(data)), 1<<r.IntN(14)
		for i := from; i < min(len(data), from+n); i++ {
			data[i] = byte(r.Uint32())
		}
		if r.IntN(2) == 0 && from < 2*page {
			checksum(data)
		}
		try(fmt.Sprintf("%d octets of noise at %d", n, from), data)
	}
}

// Records that make no sense do not count, each with a word; the others do.
func TestBadRecords(t *testing.T) {
	meta := record{metaBucket, []byte("last-address"), []byte("10.64.1.3")}
	rec := func(bucket, key, value string) record { return record{bucket, []byte(key), []byte(value)} }
	records := []record{
		meta, rec("meta", "last-address6", "10.64.1.3"), rec("meta", "what", "is this"),
		rec("pods", "web-0", "10.64.1.0"), rec("pods6", "web-0", "2001:db8::"),
		rec("pods", "web-1", "10.64.1.\x10"), rec("pods6", "web-1", "2001:db8::1"),
		rec("pods", "web-2", "2001:db8::2"), rec("pods6", "web-3", "10.64.1.3"), rec("pods6", "web-4", "fe80::1%eth0"),
		rec("pods6", "web-5", "::ffff:10.64.1.5"), rec("pods", "web-6", "0.0.0.0"), rec("pods", "web-7", "224.0.0.1"),
		rec("pods", "web/../8", "10.64.1.8"), rec("pods", "", "10.64.1.9"),
		rec("pods", "web-10", "10.64.1.10"), rec("pods", "web-11", "10.64.1.10"),
		rec("pods", "web-12", "10.64.1.12"), rec("pods", "web-12", "10.64.1.13"), rec("pods", "web-14", ""),
	}
	s, bad := stateOf(records, validName)
	want := []string{
		"web-0 [10.64.1.0 2001:db8::]", "web-1 [2001:db8::1]", "web-12 [10.64.1.12]",
	}
	var got []string
	for pod, as := range s.pods {
		got = append(got, fmt.Sprint(pod, " ", as))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if got := fmt.Sprint(s.last); got != "[10.64.1.3]" {
		t.Errorf("last %s", got)
	}
	wantBad := []string{
		`pods: "web-1" = "10.64.1.\x10": ParseAddr("10.64.1.\x10"): unexpected character (at "\x10")`,
		`pods: "web-2" = "2001:db8::2": 2001:db8::2 is no pod's address of 32 bits`,
		`pods: "web-6" = "0.0.0.0": 0.0.0.0 is no pod's address of 32 bits`,
		`pods: "web-7" = "224.0.0.1": 224.0.0.1 is no pod's address of 32 bits`,
		`pods: "web/../8" = "10.64.1.8": no pod is called so`,
		`pods: "" = "10.64.1.9": no pod is called so`,
		`pods: "web-12" = "10.64.1.13": the pod is there twice`,
		`pods: "web-14" = "": ParseAddr(""): unable to parse IP`,
		`meta: "last-address6" = "10.64.1.3": 10.64.1.3 is no pod's address of 128 bits`,
		`pods6: "web-3" = "10.64.1.3": 10.64.1.3 is no pod's address of 128 bits`,
		`pods6: "web-4" = "fe80::1%eth0": fe80::1%eth0 is no pod's address of 128 bits`,
		`pods6: "web-5" = "::ffff:10.64.1.5": ::ffff:10.64.1.5 is no pod's address of 128 bits`,
		`pods: "web-10" = "10.64.1.10": the address is that of web-10 and web-11`,
		`pods: "web-11" = "10.64.1.10": the address is that of web-10 and web-11`,
		`meta: "what" = "is this": nobody wrote that`,
	}
	if diff := cmp.Diff(wantBad, bad); diff != "" {
		t.Errorf("bad (-want +got):\n%s", diff)
	}
}

// Pages that point at themselves, and lengths that are not true, end.
func TestCircles(t *testing.T) {
	content := stateFile(t, twenty())
	page := os.Getpagesize()
	for id := 2; id < len(content)/page; id++ {
		for kind := range uint16(3) {
			for _, count := range []uint16{1, 0xFFFF} {
				data := bytes.Clone(content)
				p := data[id*page:]
				binary.NativeEndian.PutUint64(p, uint64(id))
				binary.NativeEndian.PutUint16(p[8:], kind)
				binary.NativeEndian.PutUint16(p[10:], count)
				binary.NativeEndian.PutUint32(p[12:], 0xFFFFFFFF)
				for at := 16; at+16 < page; at += 16 { // Each child is the page itself.
					binary.NativeEndian.PutUint64(p[at+8:], uint64(id))
				}
				s, _ := look(data)
				if err := sane(s); err != nil {
					t.Errorf("page %d, type %d: %v", id, kind, err)
				}
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(stateFile(f, twenty()), uint16(0), uint64(0))
	f.Add(stateFile(f, map[string]string{"web-0": "10.64.1.0"}), uint16(9000), uint64(77))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, value uint64) {
		if int(at)+8 <= len(data) {
			binary.NativeEndian.PutUint64(data[at:], value)
		}
		if len(data) >= 2*os.Getpagesize() {
			checksum(data)
		}
		s, _ := look(data)
		if err := sane(s); err != nil {
			t.Error(err)
		}
	})
}
