package child

import (
	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
)

// answer answers one question for paths.
func answer(stream grpc.ServerStream, s *server.BgpServer) error {
	q, w, err := wire.Receive(stream)
	if err != nil {
		return err
	}
	request := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: bgp.RF_IPv4_UC}
	if q.IPv6 {
		request.Family = bgp.RF_IPv6_UC
	}
	for _, p := range q.Prefixes {
		request.Prefixes = append(request.Prefixes, &apiutil.LookupPrefix{Prefix: p.String()})
	}
	var told []wire.Path
	err = s.ListPath(request, func(nlri bgp.NLRI, paths []*apiutil.Path) {
		prefix, ok := nlri.(*bgp.IPAddrPrefix)
		if !ok {
			return
		}
		told = told[:0]
		for _, p := range paths {
			told = append(told, gobgp.WirePath(p))
		}
		w.Prefix(prefix.Prefix, told...)
	})
	if err != nil {
		return status.Error(codes.Aborted, err.Error())
	}
	return w.Flush()
}
