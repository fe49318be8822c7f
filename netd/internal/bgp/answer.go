package bgp

import (
	"context"
	"encoding"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
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
//	report   what many paths have in common; numbered from 0 in the order of telling
//	prefix   a prefix, how many paths it has, and the numbers of their reports, in
//	         BGP's order
//
// Addresses and prefixes are as encoding.BinaryMarshaler has them, after their length;
// numbers are varints.
const (
	recordReport = 1
	recordPrefix = 2
	// chunkSize is when a chunk is sent.
	chunkSize = 32 << 10
)

// answer answers one question, in the speaker's process.
func answer(stream grpc.ServerStream, s *server.BgpServer) error {
	question := new(wrapperspb.BytesValue)
	if err := stream.RecvMsg(question); err != nil {
		return err
	}
	request, err := readQuestion(question.GetValue())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	w := answerWriter{numbers: map[string]int{}}
	err = s.ListPath(request, func(nlri bgp.NLRI, paths []*apiutil.Path) {
		if prefix, ok := nlri.(*bgp.IPAddrPrefix); ok {
			w.prefix(prefix.Prefix, paths)
		}
		if len(w.chunk) > chunkSize {
			w.send(stream)
		}
	})
	if err != nil {
		return status.Error(codes.Aborted, err.Error())
	}
	w.send(stream)
	return w.err
}

// ask begins a question of the agent's.
func ask(family bgp.Family) []byte {
	if family == bgp.RF_IPv6_UC {
		return []byte{6}
	}
	return []byte{4}
}

func readQuestion(b []byte) (apiutil.ListPathRequest, error) {
	o := cursor{rest: b}
	request := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: bgp.RF_IPv4_UC}
	if o.number() == 6 {
		request.Family = bgp.RF_IPv6_UC
	}
	for len(o.rest) > 0 {
		var p netip.Prefix
		o.value(&p)
		request.Prefixes = append(request.Prefixes, &apiutil.LookupPrefix{Prefix: p.String()})
	}
	return request, o.err
}

// answerWriter makes an answer.
type answerWriter struct {
	chunk   []byte
	numbers map[string]int // of the reports that were told
	scratch []byte
	list    []int
	err     error
}

func (w *answerWriter) send(stream grpc.ServerStream) {
	if w.err == nil && len(w.chunk) > 0 {
		w.err = stream.SendMsg(wrapperspb.Bytes(w.chunk))
	}
	w.chunk = nil // The message may be used for longer.
}

func (w *answerWriter) prefix(p netip.Prefix, paths []*apiutil.Path) {
	w.list = w.list[:0]
	for _, path := range paths {
		w.scratch = reportOf(path).append(w.scratch[:0])
		number, told := w.numbers[string(w.scratch)]
		if !told {
			number = len(w.numbers)
			w.numbers[string(w.scratch)] = number
			w.chunk = append(append(w.chunk, recordReport), w.scratch...)
		}
		w.list = append(w.list, number)
	}
	w.chunk = appendValue(append(w.chunk, recordPrefix), p)
	w.chunk = binary.AppendUvarint(w.chunk, uint64(len(w.list)))
	for _, number := range w.list {
		w.chunk = binary.AppendUvarint(w.chunk, uint64(number))
	}
}

func (r report) append(b []byte) []byte {
	b = appendValue(appendValue(b, r.from), r.nextHop)
	for _, n := range []uint32{r.localPref, r.hops, r.origin, flag(r.external), flag(r.stale), r.med, r.neighbourAS, uint32(len(r.asPath))} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, as := range r.asPath {
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

// answerReader understands an answer.
type answerReader struct {
	name func(netip.Addr) string // of a peer
	told []*known
	list []*known
}

// read gives each prefix of a chunk, with what is told of it, which is valid until each
// returns.
func (r *answerReader) read(chunk []byte, each func(netip.Prefix, []*known)) error {
	o := cursor{rest: chunk}
	for len(o.rest) > 0 && o.err == nil {
		switch o.number() {
		case recordReport:
			k := &known{report: o.report()}
			k.peer = r.name(k.from)
			r.told = append(r.told, k)
		case recordPrefix:
			var p netip.Prefix
			o.value(&p)
			r.list = r.list[:0]
			for n := o.number(); n > 0 && o.err == nil; n-- {
				number := o.number()
				if number >= uint64(len(r.told)) {
					o.fail()
					break
				}
				r.list = append(r.list, r.told[number])
			}
			if o.err == nil && p.IsValid() {
				each(p, r.list)
			}
		default:
			o.fail()
		}
	}
	return o.err
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

func (o *cursor) report() (r report) {
	o.value(&r.from)
	o.value(&r.nextHop)
	var external, stale, length uint32
	for _, n := range []*uint32{&r.localPref, &r.hops, &r.origin, &external, &stale, &r.med, &r.neighbourAS, &length} {
		*n = uint32(o.number())
	}
	r.external, r.stale = external != 0, stale != 0
	if uint64(length) > uint64(len(o.rest)) {
		o.fail()
		return r
	}
	if length > 0 {
		r.asPath = make([]uint32, length)
	}
	for i := range r.asPath {
		r.asPath[i] = uint32(o.number())
	}
	return r
}

// inquire asks the speaker's process, and gives each prefix of its answer.
func inquire(ctx context.Context, conn grpc.ClientConnInterface, question []byte, name func(netip.Addr) string, each func(netip.Prefix, []*known)) error {
	ctx, cancel := context.WithCancel(asAgent(ctx))
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, api.GoBgpService_ListPath_FullMethodName)
	if err != nil {
		return err
	}
	// What SendMsg can not send RecvMsg has the reason of.
	if err := errors.Join(stream.SendMsg(wrapperspb.Bytes(question)), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r := answerReader{name: name}
	for {
		chunk := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(chunk); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := r.read(chunk.GetValue(), each); err != nil {
			return err
		}
	}
}
