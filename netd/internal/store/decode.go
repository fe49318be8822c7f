package store

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// bbolt itself is not asked to read: of a damaged file it follows pointers in circles
// until the stack is full, or asks for as much memory as a length says, and neither
// can be recovered from. The format: pages of one size, each with its number, type,
// count and how many pages it goes on for; pages 0 and 1 are the two last
// transactions' heads, with a checksum; a bucket is a tree of branch and leaf pages,
// or one leaf page within its record, and the buckets' records are a bucket too.

const (
	headerSize  = 16 // of a page, and of an element
	leafPage    = 2
	branchPage  = 1
	freePage    = 16
	bucketFlag  = 1         // of a leaf's element
	mostRecords = 1 << 17   // more than any gateway has pods
	longest     = 256       // octets of a key or value that are looked at
	noFreelist  = 1<<64 - 1 // a head's freelist if there is none
)

// record is what one key of a bucket holds, cut to the longest that makes sense.
type record struct {
	bucket     string
	key, value []byte
}

func (r record) String() string { return fmt.Sprintf("%s: %q = %q", r.bucket, r.key, r.value) }

// head is what a transaction left.
type head struct {
	pageSize, root, freelist, pages, txid uint64
}

// decoder reads one file's content. All that it finds wrong is a word in damage.
type decoder struct {
	data    []byte
	head    head
	visited map[uint64]bool // pages of the trees
	records []record
	damage  []string
}

// decode returns the records of the buckets that are asked for, as many as can be
// read, and what was wrong with the file. Nothing in data makes it fail, or costs more
// than a few times the memory of data.
func decode(data []byte, buckets []string) (records []record, damage []string) {
	heads, damage := findHeads(data)
	for _, h := range heads {
		d := &decoder{data: data, head: h, visited: map[uint64]bool{}, damage: damage}
		d.buckets(buckets)
		d.account()
		records, damage = d.records, d.damage
		if len(records) > 0 {
			break // The transaction before is asked only if this one left nothing.
		}
		if len(d.damage) == 0 {
			break // It is empty.
		}
	}
	return records, damage
}

// findHeads returns the whole heads, the newest first.
func findHeads(data []byte) (heads []head, damage []string) {
	first, ok := readHead(data, 0)
	if ok {
		heads = append(heads, first)
		if second, ok := readHead(data, first.pageSize); ok && second.pageSize == first.pageSize {
			heads = append(heads, second)
		} else {
			damage = append(damage, "the second head is damaged")
		}
	} else {
		damage = append(damage, "the first head is damaged")
		for size := uint64(1 << 10); size <= 1<<24; size <<= 1 {
			if second, ok := readHead(data, size); ok && second.pageSize == size {
				heads = append(heads, second)
				break
			}
		}
	}
	if len(heads) == 2 && heads[1].txid > heads[0].txid {
		heads[0], heads[1] = heads[1], heads[0]
	}
	if len(heads) == 0 {
		damage = []string{"no head is whole: this is no state file, or its beginning is lost"}
	}
	return heads, damage
}

// readHead reads the head in the page at offset.
func readHead(data []byte, offset uint64) (head, bool) {
	const magic, version, size = 0xED0CDAED, 2, 64
	if uint64(len(data)) < offset+headerSize+size {
		return head{}, false
	}
	m := data[offset+headerSize:][:size]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:size-8])
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(m[at:]) }
	h := head{
		pageSize: uint64(binary.NativeEndian.Uint32(m[8:])),
		root:     u64(16), freelist: u64(32), pages: u64(40), txid: u64(48),
	}
	ok := binary.NativeEndian.Uint32(m) == magic && binary.NativeEndian.Uint32(m[4:]) == version && u64(56) == sum.Sum64() &&
		h.pageSize >= 1<<10 && h.pageSize <= 1<<24
	return h, ok
}

func (d *decoder) wrong(format string, args ...any) {
	if len(d.damage) < 32 {
		d.damage = append(d.damage, fmt.Sprintf(format, args...))
	}
}

// page is one page with those it goes on for.
type page struct {
	kind, count uint64
	id, extent  uint64
	data        []byte
}

// parsePage reads the header of a page; data begins with it.
func parsePage(data []byte) (page, bool) {
	if len(data) < headerSize {
		return page{}, false
	}
	return page{
		id:     binary.NativeEndian.Uint64(data),
		kind:   uint64(binary.NativeEndian.Uint16(data[8:])),
		count:  uint64(binary.NativeEndian.Uint16(data[10:])),
		extent: uint64(binary.NativeEndian.Uint32(data[12:])) + 1,
		data:   data,
	}, true
}

// page returns a page by its number.
func (d *decoder) page(id uint64) (page, bool) {
	if id < 2 || id >= d.head.pages || id >= uint64(len(d.data))/d.head.pageSize+1 || id*d.head.pageSize >= uint64(len(d.data)) {
		d.wrong("page %d is beyond the end", id)
		return page{}, false
	}
	data := d.data[id*d.head.pageSize:]
	p, ok := parsePage(data)
	if !ok {
		d.wrong("page %d is cut", id)
		return page{}, false
	}
	if p.id != id { // What it holds may be whole all the same.
		d.wrong("page %d says that it is %d", id, p.id)
		p.id = id
	}
	if p.extent*d.head.pageSize > uint64(len(data)) {
		d.wrong("page %d is longer than the file", id)
		p.extent = max(1, uint64(len(data))/d.head.pageSize)
	}
	p.data = data[:min(p.extent*d.head.pageSize, uint64(len(data)))]
	return p, true
}

// element is a record of a leaf, or a child of a branch.
type element struct {
	flags      uint64 // of a leaf's
	child      uint64 // of a branch's
	key, value []byte
}

// elements calls f with each element of a page that lies within it.
func (d *decoder) elements(p page, f func(element)) {
	for i := range p.count {
		at := headerSize * (i + 1)
		if at+headerSize > uint64(len(p.data)) {
			d.wrong("page %d has %d elements, and room for fewer", p.id, p.count)
			return
		}
		e := p.data[at:]
		u32 := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(e[at:])) }
		var r element
		var from, keySize, valueSize uint64
		if p.kind == branchPage {
			from, keySize, r.child = u32(0), u32(4), binary.NativeEndian.Uint64(e[8:])
		} else {
			r.flags, from, keySize, valueSize = u32(0), u32(4), u32(8), u32(12)
		}
		if from+keySize+valueSize > uint64(len(e)) {
			d.wrong("page %d: element %d is outside", p.id, i)
			continue
		}
		r.key, r.value = e[from:from+keySize], e[from+keySize:from+keySize+valueSize]
		f(r)
	}
}

// tree calls f with each record below a page. A page that is met twice is not read
// again, so that a circle ends.
func (d *decoder) tree(id uint64, depth int, f func(element)) {
	p, ok := d.page(id)
	if !ok {
		return
	}
	for i := range p.extent {
		if d.visited[id+i] {
			d.wrong("page %d is in two places", id+i)
			return
		}
		d.visited[id+i] = true
	}
	switch {
	case p.kind == leafPage:
		d.elements(p, f)
	case p.kind == branchPage && depth > 0:
		d.elements(p, func(e element) { d.tree(e.child, depth-1, f) })
	default:
		d.wrong("page %d is of type %d", id, p.kind)
	}
}

const depth = 32 // of a tree, at most

// buckets reads those that are asked for.
func (d *decoder) buckets(names []string) {
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	d.tree(d.head.root, depth, func(e element) {
		name := string(clip(e.key))
		read := func(e element) { d.record(name, e) }
		if !known[name] {
			d.wrong("a bucket %q, which nobody made", name)
			read = func(element) {}
		}
		known[name] = false // The second of a name is nobody's.
		switch {
		case e.flags != bucketFlag || len(e.value) < 16:
			d.wrong("bucket %q is damaged", name)
		case binary.NativeEndian.Uint64(e.value) != 0:
			d.tree(binary.NativeEndian.Uint64(e.value), depth, read)
		default:
			p, ok := parsePage(e.value[16:])
			if !ok || p.kind != leafPage {
				d.wrong("bucket %q is damaged", name)
				return
			}
			d.elements(p, read)
		}
	})
}

func (d *decoder) record(bucket string, e element) {
	if e.flags != 0 {
		d.wrong("%s: %q is damaged", bucket, clip(e.key))
		return
	}
	if len(d.records) == mostRecords {
		d.wrong("more than %d records", mostRecords)
		return
	}
	d.records = append(d.records, record{bucket, clip(e.key), clip(e.value)})
}

// clip copies what makes sense of a key or value.
func clip(b []byte) []byte { return append([]byte(nil), b[:min(len(b), longest)]...) }

// account finds trees that are not the newest: each page is either in a tree or free.
func (d *decoder) account() {
	if d.head.freelist == noFreelist {
		return
	}
	p, ok := d.page(d.head.freelist)
	if !ok {
		return
	}
	if p.kind != freePage {
		d.wrong("page %d is of type %d, not the list of free pages", p.id, p.kind)
		return
	}
	entries := p.data[headerSize:]
	n := p.count
	if n == 0xFFFF && len(entries) >= 8 { // The first entry is the number then.
		n, entries = binary.NativeEndian.Uint64(entries), entries[8:]
	}
	if n > uint64(len(entries))/8 {
		d.wrong("the list of free pages is longer than its page")
		return
	}
	free := map[uint64]bool{}
	for i := range n {
		free[binary.NativeEndian.Uint64(entries[8*i:])] = true
	}
	for i := range p.extent {
		free[p.id+i] = true
	}
	for id := uint64(2); id < min(d.head.pages, uint64(len(d.data))/d.head.pageSize+1); id++ {
		if free[id] == d.visited[id] {
			d.wrong("page %d: free %v, in use %v", id, free[id], d.visited[id])
		}
	}
}
