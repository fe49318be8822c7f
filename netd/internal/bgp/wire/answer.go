package wire

import (
	"context"
	"encoding"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The agent asks for paths by GoBGP's ListPath, but with its own mark, and then the
// question and the answer are octets in a form of ours: GoBGP's answers have all of
// each path in words, though most differ from the one before in nothing but the
// prefix, and reading 100,000 of them took seconds and hundreds of MiB on both sides.
//
// A question is 4 or 6, for the family, and then prefixes; without any it asks for all.
// An answer is a stream of chunks of records, none of which is in two chunks:
//
//	path     what many paths have in common; numbered from 0 in the order of telling
//	prefix   a prefix, how many paths it has, and their numbers, in BGP's order
//
// Addresses and prefixes are as encoding.BinaryMarshaler has them, after their length;
// numbers are varints.
const (
	recordPath   = 1
	recordPrefix = 2
	// chunkSize is when a chunk is sent.
	chunkSize = 32 << 10
)

// Question asks for the paths of all prefixes of a family, or of some.
type Question struct {
	IPv6     bool
	Prefixes []netip.Prefix // of the family; none: all
}

func (q Question) octets() []byte {
	b := []byte{4}
	if q.IPv6 {
		b[0] = 6
	}
	for _, p := range q.Prefixes {
		b = appendValue(b, p)
	}
	return b
}

func readQuestion(b []byte) (Question, error) {
	o := cursor{rest: b}
	q := Question{IPv6: o.number() == 6}
	for len(o.rest) > 0 {
		var p netip.Prefix
		o.value(&p)
		q.Prefixes = append(q.Prefixes, p)
	}
	return q, o.err
}

// Merit is what BGP's order looks at before it takes to tie-breakers (RFC 4271,
// 9.1.2.2): paths of one merit may share the traffic.
type Merit struct {
	LocalPref, Hops, Origin uint32
	External, Stale         bool

	MED, NeighbourAS uint32
}

// As tells whether two paths are of one merit. MEDs are compared only among paths
// from one neighbouring AS.
func (m Merit) As(o Merit) bool {
	if m.NeighbourAS != o.NeighbourAS {
		m.NeighbourAS, m.MED = o.NeighbourAS, o.MED
	}
	return m == o
}

// Path is what the speaker's process tells of a path: all but the prefix, which it
// shares with many.
type Path struct {
	From, NextHop netip.Addr
	ASPath        []uint32
	Merit
}

// Writer makes an answer, and hands over its chunks.
type Writer struct {
	send    func(chunk []byte) error
	chunk   []byte
	numbers map[string]int // of the paths that were told
	scratch []byte
	list    []int
	err     error
}

// NewWriter makes a Writer that sends so. A chunk is not touched after it was sent.
func NewWriter(send func(chunk []byte) error) *Writer {
	return &Writer{send: send, numbers: map[string]int{}}
}

// Flush sends what is left, and returns the first error of all.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.chunk) > 0 {
		w.err = w.send(w.chunk)
	}
	w.chunk = nil
	return w.err
}

// Prefix tells the paths of one prefix, in BGP's order.
func (w *Writer) Prefix(p netip.Prefix, paths ...Path) {
	w.list = w.list[:0]
	for _, path := range paths {
		w.scratch = path.append(w.scratch[:0])
		number, told := w.numbers[string(w.scratch)]
		if !told {
			number = len(w.numbers)
			w.numbers[string(w.scratch)] = number
			w.chunk = append(append(w.chunk, recordPath), w.scratch...)
		}
		w.list = append(w.list, number)
	}
	w.chunk = appendValue(append(w.chunk, recordPrefix), p)
	w.chunk = binary.AppendUvarint(w.chunk, uint64(len(w.list)))
	for _, number := range w.list {
		w.chunk = binary.AppendUvarint(w.chunk, uint64(number))
	}
	if len(w.chunk) > chunkSize {
		_ = w.Flush() // The last Flush returns the error.
	}
}

func (r Path) append(b []byte) []byte {
	b = appendValue(appendValue(b, r.From), r.NextHop)
	for _, n := range []uint32{r.LocalPref, r.Hops, r.Origin, flag(r.External), flag(r.Stale), r.MED, r.NeighbourAS, uint32(len(r.ASPath))} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, as := range r.ASPath {
		b = binary.AppendUvarint(b, uint64(as))
	}
	return b
}

func flag(set bool) uint32 {
	if set {
		return 1
	}
	return 0
}

// appendValue appends an address or a prefix, and its length before it. These are
// short, and know no error.
func appendValue[T encoding.BinaryAppender](b []byte, value T) []byte {
	begin := len(b)
	b, _ = value.AppendBinary(append(b, 0))
	b[begin] = byte(len(b) - begin - 1)
	return b
}

// Entry is what an answer has of one prefix. It is valid until the next one is read.
type Entry struct {
	Prefix netip.Prefix
	Paths  []*Path // equal ones are one in all of an answer
	// List is the same for prefixes of one answer that have the same paths in the
	// same order, and for no others.
	List []byte
}

// Reader understands an answer.
type Reader struct {
	paths []*Path
	list  []*Path
}

// Read gives each prefix of a chunk.
func (r *Reader) Read(chunk []byte, each func(Entry)) error {
	o := cursor{rest: chunk}
	for len(o.rest) > 0 && o.err == nil {
		switch o.number() {
		case recordPath:
			path := o.path()
			r.paths = append(r.paths, &path)
		case recordPrefix:
			if told := r.prefix(&o); o.err == nil && told.Prefix.IsValid() {
				each(told)
			}
		default:
			o.fail()
		}
	}
	return o.err
}

func (r *Reader) prefix(o *cursor) (e Entry) {
	o.value(&e.Prefix)
	begin := o.rest
	r.list = r.list[:0]
	for n := o.number(); n > 0 && o.err == nil; n-- {
		number := o.number()
		if number >= uint64(len(r.paths)) {
			o.fail()
			return e
		}
		r.list = append(r.list, r.paths[number])
	}
	e.Paths, e.List = r.list, begin[:len(begin)-len(o.rest)]
	return e
}

// cursor reads octets from the front. After an error there are none left.
type cursor struct {
	rest []byte
	err  error
}

var errAnswer = errors.New("the speaker and the agent do not understand each other")

func (o *cursor) fail() { o.rest, o.err = nil, errAnswer }

func (o *cursor) number() uint64 {
	n, size := binary.Uvarint(o.rest)
	if size <= 0 {
		o.fail()
		return 0
	}
	o.rest = o.rest[size:]
	return n
}

func (o *cursor) value(v encoding.BinaryUnmarshaler) {
	n := o.number()
	if n > uint64(len(o.rest)) || v.UnmarshalBinary(o.rest[:n]) != nil {
		o.fail()
		return
	}
	o.rest = o.rest[n:]
}

func (o *cursor) path() (r Path) {
	o.value(&r.From)
	o.value(&r.NextHop)
	var external, stale, length uint32
	for _, n := range []*uint32{&r.LocalPref, &r.Hops, &r.Origin, &external, &stale, &r.MED, &r.NeighbourAS, &length} {
		*n = uint32(o.number())
	}
	r.External, r.Stale = external != 0, stale != 0
	if uint64(length) > uint64(len(o.rest)) {
		o.fail()
		return r
	}
	if length > 0 {
		r.ASPath = make([]uint32, length)
	}
	for i := range r.ASPath {
		r.ASPath[i] = uint32(o.number())
	}
	return r
}

// Ask asks the speaker's process, and gives each prefix of its answer.
func Ask(ctx context.Context, conn grpc.ClientConnInterface, q Question, each func(Entry)) error {
	ctx, cancel := context.WithCancel(AsAgent(ctx))
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, api.GoBgpService_ListPath_FullMethodName)
	if err != nil {
		return err
	}
	// If SendMsg says no more than EOF, RecvMsg below has the reason.
	if err := errors.Join(stream.SendMsg(wrapperspb.Bytes(q.octets())), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var r Reader
	for {
		chunk := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(chunk); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := r.Read(chunk.GetValue(), each); err != nil {
			return err
		}
	}
}

// Receive is the process's end of Ask: the question, and a Writer for its answer.
func Receive(stream grpc.ServerStream) (Question, *Writer, error) {
	m := new(wrapperspb.BytesValue)
	if err := stream.RecvMsg(m); err != nil {
		return Question{}, nil, err
	}
	q, err := readQuestion(m.GetValue())
	if err != nil {
		return q, nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return q, NewWriter(func(chunk []byte) error { return stream.SendMsg(wrapperspb.Bytes(chunk)) }), nil
}
